"""Ground truth → SAM's decoder, prompted by a box round the whole patch (paper Table 2)."""

import logging
from collections.abc import Sequence
from pathlib import Path

from epsam.config.command_line import run_stage
from epsam.config.decoder import BoxDecoderOptions
from epsam.core.distributed import is_main_process
from epsam.core.errors import TrainingError
from epsam.core.files import digest_of_files, sha256_of
from epsam.data.patches import (
    Patch,
    list_labelled_patches,
    load_median_mpp,
    read_patch_size,
    select_positives,
)
from epsam.engine.metric_logger import open_metric_logger
from epsam.engine.run_leaves import settle_leaves
from epsam.engine.stage import Stage
from epsam.paths import DatasetPaths, run_folder
from epsam.segment.sam.box_weights import find_box_checkpoint, pixel_scaling

NAME = "train_box_decoder"

log = logging.getLogger(__name__)


def main(options: BoxDecoderOptions) -> None:
    """Train the decoder on the positives that have a mask; keep the epoch with the best validation
    Dice.

    Raises TrainingError if train or validation has no mask.
    """
    options = settle_leaves(options, NAME)
    data = DatasetPaths.of(options)
    train = list_masked_patches(data.split("train"))
    val = list_masked_patches(data.split("val"))
    weights = find_box_checkpoint(options)
    inputs = {
        "train": digest_of_files(patch.image for patch in train),
        "train_truth": digest_of_files(patch.mask for patch in train if patch.mask),
        "val": digest_of_files(patch.image for patch in val),
        "val_truth": digest_of_files(patch.mask for patch in val if patch.mask),
        "sam": sha256_of(weights),
    }
    stage = Stage(NAME, options, inputs)
    if stage.is_current():
        return
    stage.begin()
    fit_decoder(stage, train, val, options)


def fit_decoder(
    stage: Stage, train: Sequence[Patch], val: Sequence[Patch], options: BoxDecoderOptions
) -> None:
    """Train the decoder, save it, and complete the stage."""
    # PyTorch takes seconds to import, and a finished stage has no use for it.
    from epsam.engine.fit import fit
    from epsam.segment.registry import save_segmenter
    from epsam.training.box_decoder import build_box_decoder_task, prepare_box_sam
    from epsam.training.decoder import build_decoder_schedule

    size = read_patch_size(train)
    sam = prepare_box_sam(options, train, val, size)
    log.info("%d masks to fit to, %d validation patches of %d px", len(train), len(val), size)
    task = build_box_decoder_task(sam, train, val, options)
    metric_logger = open_metric_logger(stage.run, task.name, options.tensorboard)
    state = fit(
        task,
        build_decoder_schedule(options.as_decoder_options()),
        stage.progress_path(task.name),
        metric_logger=metric_logger,
    )

    metadata = {
        "patch_size": size,
        "mpp": load_median_mpp(train, DatasetPaths.of(options).patch_table),
        "sam_model_type": options.sam_model_type,
        "sam_sha256": sam.checksum,
        "pixels": pixel_scaling(options),
    }
    if is_main_process():
        save_segmenter(stage.run.segmenter, options.segmenter, sam.segmenter, metadata)
    stage.record(task.name, state.history)
    stage.finish([stage.run.segmenter])


def list_masked_patches(split_dir: Path) -> Sequence[Patch]:
    """The positives of a split that have a ground truth. Raises TrainingError if there are none."""
    patches = [p for p in select_positives(list_labelled_patches(split_dir)) if p.mask]
    if not patches:
        raise TrainingError(
            f"{split_dir / 'mask'}: no mask of a tumour patch to learn from; add masks of the "
            "images' names"
        )
    return patches


if __name__ == "__main__":
    run_stage(NAME, BoxDecoderOptions, main, owns=run_folder, is_shared=True)
