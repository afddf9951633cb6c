"""Step 3: classifier → class activation maps → initial masks (paper 3.2.2)."""

import dataclasses
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epsam.cam.postprocess import require_postprocessing
from epsam.cam.refiner_sam import resolve_refiner_sam
from epsam.config.command_line import run_stage
from epsam.config.common import SPLITS
from epsam.config.masks import MaskOptions, MaskRule
from epsam.config.metadata import select_fields
from epsam.core.distributed import is_main_process, wait_for_all
from epsam.core.errors import WeightsError
from epsam.core.files import digest_of_files, sha256_of, write_json
from epsam.data.cam_store import CamStore
from epsam.data.patches import Patch, list_labelled_patches, read_patch_size, select_positives
from epsam.engine.metric_logger import open_metric_logger
from epsam.engine.sanity import MaskCounts
from epsam.engine.stage import Stage, check_predecessor
from epsam.evaluation.threshold_search import (
    require_grid,
    require_ground_truth,
    require_labels,
    search_grid,
    select_best,
    write_grid,
)
from epsam.paths import DatasetPaths, RunPaths, folder_of_whole_run
from epsam.training.round_data import initial_mask_path

if TYPE_CHECKING:
    from epsam.core.device import DeviceConfig

NAME = "generate_initial_masks"

log = logging.getLogger(__name__)


def main(options: MaskOptions) -> None:
    """Write the class activation map and the initial mask of every patch with tumour, in all
    splits.
    """
    if not options.resnet_checkpoint:
        check_predecessor(NAME, "train_classifier", options)
    data, run = DatasetPaths.of(options), RunPaths.of(options)
    patches = list_positives(data)
    size = read_patch_size(patches["train"])

    classifier = find_classifier(run, options)
    negatives = list_searched_negatives(data, options)
    resolved = resolve_refiner_sam(options, options.dataset_type, Path(options.checkpoint_root))
    inputs = digest_inputs(classifier, patches, negatives, resolved)
    stage = Stage(NAME, options, inputs)
    if stage.is_current():
        return
    if options.shard:
        from epsam.training.run_cams import compute_cam_shard

        stage.require_replaceable()
        compute_cam_shard(run, classifier, inputs["classifier"], patches, size, resolved)
        return

    # PyTorch takes seconds to import, and a finished stage has no use for it.
    from epsam.cam.rotation import trained_cam
    from epsam.core.device import select_device
    from epsam.training.layer_masks import write_layer_masks
    from epsam.training.run_cams import fit_refiner, remove_shards, update_cams
    from epsam.weak.registry import load_weak_model

    device_config = select_device(options.device, options.precision)
    stage.begin()
    options, checksum = resolved, inputs["classifier"]

    # Whatever would fail later fails now, before hours of work.
    model = load_weak_model(classifier, device_config)
    require_possible_masks(patches["val"], negatives, options)
    remove_earlier_masks(run)

    # Classifier → class activation maps.
    options = fit_refiner(run, model, checksum, patches["train"], size, options, device_config)
    cams = update_cams(run, model, checksum, patches, size, options, device_config)

    # Class activation maps → initial masks.
    val = patches["val"]
    rule = search_rule(run, model, cams["val"], val, negatives, size, options, device_config)
    counts = write_masks_and_panels(run, patches, cams, size, rule)

    layer_files = write_layer_masks(
        run, model, patches["train"], size, options.batch_size, device_config
    )

    log_panels(run, options)
    write_rule(run, rule, options.cam or trained_cam(model), classifier, checksum)
    remove_shards(run)

    outputs = [*list_outputs(run, patches), *layer_files]
    stage.finish(outputs, counts["train"].degenerate_output("initial masks"))


def require_possible_masks(
    positives: Sequence[Patch], negatives: Sequence[Patch], options: MaskOptions
) -> None:
    """Raise EpsamError if no masks can be made or searched for; the patches are of validation."""
    require_postprocessing(options)
    if options.grid_search:
        require_grid(options)
        require_judge(positives, negatives, options)


def log_panels(run: RunPaths, options: MaskOptions) -> None:
    """Show the panels of the masks in TensorBoard, too, if that is wanted."""
    metric_logger = open_metric_logger(run, NAME, options.tensorboard)
    for path in sorted(run.panels.glob("initial_masks_*.png")):
        metric_logger.log_image(path, 0)


def remove_earlier_masks(run: RunPaths) -> None:
    """Remove the masks of an earlier run of the stage."""
    if is_main_process():
        shutil.rmtree(run.mask_rule.parent, ignore_errors=True)
        shutil.rmtree(run.layer_masks(1).parent, ignore_errors=True)
    wait_for_all()


def write_rule(run: RunPaths, rule: MaskOptions, cam: str, classifier: Path, checksum: str) -> None:
    """Write the rule beside the masks: decoders and inference make their maps by it.

    cam: the CAM method, where the rule leaves it open. checksum: SHA-256 of the classifier's file.
    """
    from epsam.training.cams import describe_external_classifier

    fields = select_fields(MaskRule, rule) | {"cam": cam}
    if rule.resnet_checkpoint:
        fields |= describe_external_classifier(classifier, checksum)
    if is_main_process():
        write_json(run.mask_rule, fields)


def list_outputs(run: RunPaths, patches: Mapping[str, Sequence[Patch]]) -> list[Path]:
    """The files that the stage leaves, given the patches of each split."""
    outputs = [run.cams(split) for split in SPLITS]
    for split in SPLITS:
        outputs += [initial_mask_path(run, split, patch) for patch in patches[split]]
    outputs.append(run.mask_rule)
    return outputs


def find_classifier(run: RunPaths, options: MaskOptions) -> Path:
    """The file of the classifier. Raises WeightsError if it is missing."""
    classifier = Path(options.resnet_checkpoint) if options.resnet_checkpoint else run.classifier
    if not classifier.is_file():
        raise WeightsError(
            f"{classifier}: no such file; run the stage that makes it, or correct the path"
        )
    return classifier


def list_positives(data: DatasetPaths) -> dict[str, list[Patch]]:
    """The patches with tumour of each split."""
    patches = {}
    for split in SPLITS:
        patches[split] = select_positives(list_labelled_patches(data.split(split)))
    return patches


def list_searched_negatives(data: DatasetPaths, options: MaskOptions) -> list[Patch]:
    """The validation patches without tumour; empty unless a grid search needs them."""
    if not options.grid_search or options.grid_by != "labels":
        return []
    return [patch for patch in list_labelled_patches(data.split("val")) if patch.label == 0]


def require_judge(
    positives: Sequence[Patch], negatives: Sequence[Patch], options: MaskOptions
) -> None:
    """Raise DatasetError if validation lacks what the grid is judged by."""
    if options.grid_by == "labels":
        require_labels(positives, negatives)
    else:
        require_ground_truth(positives)


def digest_inputs(
    classifier: Path,
    patches: Mapping[str, Sequence[Patch]],
    negatives: Sequence[Patch],
    options: MaskOptions,
) -> dict[str, str]:
    """Digests of the files that the stage reads: the classifier, each split's images, and what a
    grid search is judged by.
    """
    digests = {"classifier": sha256_of(classifier)}
    if options.refiner_sam_sha256:
        digests["sam"] = options.refiner_sam_sha256
    for split, split_patches in patches.items():
        digests[split] = digest_of_files(patch.image for patch in split_patches)
    if options.grid_search and options.grid_by == "labels":
        digests["negatives"] = digest_of_files(patch.image for patch in negatives)
    elif options.grid_search:
        digests["truth"] = digest_of_files(patch.mask for patch in patches["val"] if patch.mask)
    return digests


def search_rule(
    run: RunPaths,
    model: Any,
    cams: CamStore,
    positives: Sequence[Patch],
    negatives: Sequence[Patch],
    size: int,
    options: MaskOptions,
    device_config: "DeviceConfig",
) -> MaskOptions:
    """The options with the best quantile and kernel on validation, as --grid_by says: the paper
    (4.3) searches, too. Without --grid_search the options as they are.

    Writes the whole grid into the run.
    """
    if not options.grid_search:
        return options
    if options.grid_by == "labels":
        from epsam.evaluation.evidence_search import search_grid_by_evidence

        metric = "evidence"
        rows = search_grid_by_evidence(
            model, cams, positives, negatives, size, options, device_config
        )
    else:
        metric = "dice"
        rows = search_grid(cams, positives, options)
    if is_main_process():
        write_grid(run.grid_search, rows, metric)
    quantile, kernel = select_best(rows, metric)
    log.info(
        "grid search by %s: quantile %g and kernel %d are the best of %d pairs on validation; "
        "all are in %s",
        options.grid_by,
        quantile,
        kernel,
        len(rows),
        run.grid_search,
    )
    return dataclasses.replace(options, quantile=quantile, open_kernel=kernel)


def write_masks_and_panels(
    run: RunPaths,
    patches: Mapping[str, Sequence[Patch]],
    cams: Mapping[str, CamStore],
    size: int,
    rule: MaskRule,
) -> dict[str, MaskCounts]:
    """Write the masks and a panel of each split; return the counts of masks by split."""
    from epsam.training.cams import write_initial_masks
    from epsam.training.panels import pick_evenly, write_panel

    counts: dict[str, MaskCounts] = {}
    for split, split_patches in patches.items():
        counts[split] = write_initial_masks(run, split, cams[split], split_patches, size, rule)
        panel_patches = [split_patches[index] for index in pick_evenly(len(split_patches))]
        panel = run.panels / f"initial_masks_{split}.png"
        if is_main_process():
            write_panel(panel, run, split, panel_patches, cams[split])
        log.info(
            "initial masks: %s, %d written, %d of them empty",
            split,
            len(split_patches),
            counts[split].empty,
        )
    return counts


if __name__ == "__main__":
    run_stage(NAME, MaskOptions, main, owns=folder_of_whole_run, is_shared=True)
