"""Masks → a segmenter without prompts: ground truth, initial masks, or pseudo-labels."""

import logging
from collections.abc import Sequence

from epsam.config.command_line import run_stage
from epsam.config.segmenter import SegmenterOptions
from epsam.core.distributed import is_main_process
from epsam.core.errors import TrainingError
from epsam.core.files import digest_of_files
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
from epsam.methods import SEGMENTERS
from epsam.paths import DatasetPaths, RunPaths, run_folder
from epsam.training.round_data import Example
from epsam.training.segmenter_targets import load_targets
from epsam.training.source_run import copy_gate_classifier

NAME = "train_segmenter"

log = logging.getLogger(__name__)


def main(options: SegmenterOptions) -> None:
    """Train --segmenter on the masks of --targets; keep the epoch with the best validation Dice.

    Raises TrainingError if no segmenter is named, or if there is no mask to train on.
    """
    if not options.segmenter:
        raise TrainingError(
            f"--segmenter: none named; use {', '.join(SEGMENTERS)}, or a row of your own "
            "(docs/extending.md)"
        )
    options = settle_leaves(options, NAME)
    data, run = DatasetPaths.of(options), RunPaths.of(options)
    labelled = list_labelled_patches(data.split("train"))
    positives = select_positives(labelled)
    normals = [patch for patch in labelled if patch.label == 0]
    examples = load_targets(options, run, positives, normals)
    val = select_positives(list_labelled_patches(data.split("val")))
    val = [patch for patch in val if patch.mask]

    inputs = {
        "train": digest_of_files(example.patch.image for example in examples),
        "targets": digest_of_files(example.target for example in examples if example.target),
        "val": digest_of_files(patch.image for patch in val),
        "val_truth": digest_of_files(patch.mask for patch in val if patch.mask),
    }
    if options.targets == "layers":
        # It becomes a part of the segmenter.
        inputs["classifier"] = digest_of_files([run.classifier])
    stage = Stage(NAME, options, inputs)
    if stage.is_current():
        return
    stage.begin()
    train(stage, examples, val, options)


def train(
    stage: Stage, examples: Sequence[Example], val: Sequence[Patch], options: SegmenterOptions
) -> None:
    """Train the segmenter, save it, and complete the stage."""
    # PyTorch takes seconds to import, and a finished stage has no use for it.
    from epsam.core.device import select_device
    from epsam.engine.fit import fit
    from epsam.segment.registry import build_segmenter, save_segmenter
    from epsam.training.segmenter import build_segmenter_schedule, build_segmenter_task

    device_config = select_device(options.device, options.precision)
    patches = [example.patch for example in examples]
    size = read_patch_size(patches)
    model = build_segmenter(options).to(device_config.device)
    log.info(
        "segmenter: %s on %s, %d patches to fit to, %d validation patches of %d px",
        options.segmenter,
        device_config.device,
        len(examples),
        len(val),
        size,
    )
    task = build_segmenter_task(model, examples, val, size, options, device_config)
    metric_logger = open_metric_logger(stage.run, task.name, options.tensorboard)
    progress = fit(
        task,
        build_segmenter_schedule(options),
        stage.progress_path(task.name),
        metric_logger=metric_logger,
    )

    metadata = {
        "patch_size": size,
        "mpp": load_median_mpp(patches, DatasetPaths.of(options).patch_table),
        "targets": options.targets,
    }
    outputs = [stage.run.segmenter]
    if is_main_process():
        save_segmenter(stage.run.segmenter, options.segmenter, model, metadata)
        outputs += copy_gate_classifier(options, stage.run)
    stage.record(task.name, progress.history)
    stage.finish(outputs)


if __name__ == "__main__":
    run_stage(NAME, SegmenterOptions, main, owns=run_folder, is_shared=True)
