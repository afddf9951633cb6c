"""Step 3: classifier → activation maps and initial masks (paper 3.2.2)."""

import dataclasses
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from epsam.cam.postprocess import require_postprocessing
from epsam.config.command_line import run_stage
from epsam.config.common import SPLITS
from epsam.config.masks import MaskOptions, MaskRule
from epsam.config.metadata import select_fields
from epsam.core.device import select_device
from epsam.core.files import digest_of_files, sha256_of, write_json
from epsam.data.cam_store import CamStore, save_cams
from epsam.data.patches import Patch, list_labelled_patches, read_patch_size, select_positives
from epsam.engine.metric_logger import open_metric_logger
from epsam.engine.sanity import MaskCounts
from epsam.engine.stage import Stage, check_predecessor
from epsam.evaluation.threshold_search import (
    require_grid,
    require_ground_truth,
    search_grid,
    select_best,
    write_grid,
)
from epsam.paths import DatasetPaths, RunPaths, run_folder
from epsam.training.cams import (
    compute_cams,
    describe_external_classifier,
    digest_of_cam_recipe,
    load_matching_cams,
    write_initial_masks,
)
from epsam.training.panels import pick_evenly, write_panel
from epsam.training.sam_setup import initial_mask_path
from epsam.weak.fast_inference import load_for_inference

log = logging.getLogger(__name__)


def main(options: MaskOptions) -> None:
    """Write the maps and masks of every patch with tumour, in all splits that there are."""
    if not options.resnet_checkpoint:
        check_predecessor("generate_initial_masks", "train_classifier", options)
    data, run = DatasetPaths.of(options), RunPaths.of(options)
    patches = {
        split: select_positives(list_labelled_patches(data.split(split))) for split in SPLITS
    }
    size = read_patch_size(patches["train"])
    classifier = Path(options.resnet_checkpoint) if options.resnet_checkpoint else run.classifier
    device_config = select_device(options.device, options.precision)
    model = load_for_inference(classifier, device_config)
    checksum = sha256_of(classifier)
    listing = {split: digest_of_files(p.image for p in found) for split, found in patches.items()}
    truth = (
        {"truth": digest_of_files(p.mask for p in patches["val"] if p.mask)}
        if options.grid_search
        else {}
    )
    stage = Stage("generate_initial_masks", options, {"classifier": checksum, **listing, **truth})
    if stage.is_current():
        return
    stage.begin()

    require_postprocessing(options)
    if options.grid_search:
        require_grid(options)
        require_ground_truth(patches["val"])
    shutil.rmtree(run.mask_rule.parent, ignore_errors=True)
    maps: dict[str, CamStore] = {}
    for split, found in patches.items():
        recipe = digest_of_cam_recipe(
            options.cam or model.spec.cam, options, checksum, listing[split]
        )
        kept = load_matching_cams(run.cams(split), checksum, recipe)
        made = kept or compute_cams(
            model, checksum, found, size, options, options.batch_size, device_config
        )
        maps[split] = dataclasses.replace(made, recipe=recipe)
        save_cams(run.cams(split), maps[split])
    rule = searched(run, maps["val"], patches["val"], options) if options.grid_search else options
    counts = write_masks(run, patches, maps, size, rule)
    metric_logger = open_metric_logger(run, stage.name, options.tensorboard)
    for path in sorted(run.panels.glob("initial_masks_*.png")):
        metric_logger.log_image(path, 0)
    given = describe_external_classifier(classifier, checksum) if options.resnet_checkpoint else {}
    write_json(
        run.mask_rule,
        select_fields(MaskRule, rule) | {"cam": options.cam or model.spec.cam} | given,
    )
    files = [
        initial_mask_path(run, split, patch) for split, found in patches.items() for patch in found
    ]
    stage.finish(
        [*map(run.cams, SPLITS), *files, run.mask_rule],
        counts["train"].degenerate_output("initial masks"),
    )


def searched(
    run: RunPaths, maps: CamStore, patches: Sequence[Patch], options: MaskOptions
) -> MaskOptions:
    """The options with the quantile and kernel that are best on validation; the whole grid is
    written.
    """
    rows = search_grid(maps, patches, options)
    write_grid(run.grid_search, rows)
    quantile, kernel = select_best(rows)
    log.info(
        "grid search: quantile %g and kernel %d are the best of %d pairs on validation; all are in %s",
        quantile,
        kernel,
        len(rows),
        run.grid_search,
    )
    return dataclasses.replace(options, quantile=quantile, open_kernel=kernel)


def write_masks(
    run: RunPaths,
    patches: Mapping[str, Sequence[Patch]],
    maps: Mapping[str, CamStore],
    size: int,
    rule: MaskRule,
) -> dict[str, MaskCounts]:
    """Write the masks and a panel of each split, and count them."""
    counts: dict[str, MaskCounts] = {}
    for split, found in patches.items():
        counts[split] = write_initial_masks(run, split, maps[split], found, size, rule)
        chosen = [found[index] for index in pick_evenly(len(found))]
        write_panel(run.panels / f"initial_masks_{split}.png", run, split, chosen, maps[split])
        log.info(
            "initial masks: %s, %d written, %d of them empty",
            split,
            len(found),
            counts[split].empty,
        )
    return counts


if __name__ == "__main__":
    run_stage("generate_initial_masks", MaskOptions, main, owns=run_folder)
