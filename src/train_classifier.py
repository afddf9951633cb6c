"""Step 2: patches → Enhanced-ADL classifier (paper 3.2.1)."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from epsam.config.classifier import ClassifierOptions
from epsam.config.command_line import run_stage
from epsam.core.distributed import is_main_process
from epsam.core.files import digest_of_files
from epsam.core.records import copy_stage_record
from epsam.data.colours import measure_colours
from epsam.data.patches import (
    Patch,
    list_labelled_patches,
    load_median_mpp,
    read_patch_size,
    require_both_classes,
)
from epsam.engine.metric_logger import open_metric_logger
from epsam.engine.run_leaves import settle_leaves
from epsam.engine.sanity import check_classifier
from epsam.engine.stage import Stage
from epsam.methods import SAM_WEAK_MODELS
from epsam.paths import DatasetPaths, run_folder
from epsam.segment.sam.map_sam import find_map_sam

NAME = "train_classifier"

log = logging.getLogger(__name__)


def main(options: ClassifierOptions) -> None:
    """Train the classifier on patches and their labels (paper 3.2.1); keep the epoch with the best
    validation loss.
    """
    options = settle_leaves(options, NAME)
    data = DatasetPaths.of(options)
    patches = {
        "train": list_labelled_patches(data.split("train"), options.train_image_dir),
        "val": list_labelled_patches(data.split("val"), options.val_image_dir),
        "test": list_labelled_patches(data.split("test"), options.test_image_dir),
    }
    require_both_classes(patches["train"], data.split("train"))
    require_both_classes(patches["val"], data.split("val"))
    stage = Stage(NAME, options, digest_inputs(patches, options))
    if stage.is_current():
        return
    stage.begin()
    train(stage, patches, options)
    if is_main_process():
        copy_stage_record(data.record, stage.run.record, "extract_patches")


def train(stage: Stage, patches: Mapping[str, list[Patch]], options: ClassifierOptions) -> None:
    """Train the classifier, score it on test, and complete the stage."""
    # PyTorch takes seconds to import, and a finished stage has no use for it.
    from epsam.core.device import select_device
    from epsam.engine.fit import fit
    from epsam.training.classifier import (
        build_classifier_schedule,
        build_classifier_task,
        score_classifier,
    )
    from epsam.training.subclasses import find_subclasses, write_subclasses
    from epsam.weak.registry import DEFAULT, build_weak_model, save_weak_model

    # The network and the weights that training starts from.
    device_config = select_device(options.device, options.precision)
    size = read_patch_size(patches["train"])
    model = build_weak_model(options)
    if hasattr(model, "set_normalisation"):
        model.set_normalisation(*measure_colours(patches["train"], size))
    model.to(device_config.device)
    log.info(
        "classifier: %s on %s, %d train, %d val, %d test patches of %d px",
        options.backbone if options.weak_model == DEFAULT else options.weak_model,
        device_config.device,
        len(patches["train"]),
        len(patches["val"]),
        len(patches["test"]),
        size,
    )

    # Positive patches → sub-classes, if there are to be any.
    subclasses = find_subclasses(model, patches["train"], size, options, device_config)
    if is_main_process():
        write_subclasses(stage.run.subclasses, subclasses)

    # Patches → classifier.
    task = build_classifier_task(
        model, patches["train"], patches["val"], size, options, device_config, subclasses
    )
    schedule = build_classifier_schedule(options)
    metric_logger = open_metric_logger(stage.run, task.name, options.tensorboard)
    progress = fit(task, schedule, stage.progress_path(task.name), metric_logger=metric_logger)

    # The test patches are scored once, after the epoch is chosen.
    if patches["test"]:
        scores = score_classifier(model, patches["test"], size, options, device_config)
        for name, value in scores.items():
            progress.history.append((progress.best_epoch, f"test_{name}", value))
        log.info(
            "classifier on test: accuracy %.3f, AUROC %.3f", scores["accuracy"], scores["auroc"]
        )

    patch_table = DatasetPaths.of(options).patch_table
    metadata = {"patch_size": size, "mpp": load_median_mpp(patches["train"], patch_table)}
    if is_main_process():
        save_weak_model(stage.run.classifier, options.weak_model, model, metadata)
    stage.record(task.name, progress.history)
    metric_logger.log_scalars(progress.history)
    outputs = [stage.run.classifier, *([stage.run.subclasses] if subclasses else [])]
    stage.finish(outputs, check_classifier(progress.history, progress.best_epoch))


def digest_inputs(
    patches: Mapping[str, Sequence[Patch]], options: ClassifierOptions
) -> dict[str, str]:
    """Digests of the files that the stage reads: each split's images, and initial weights."""
    digests = {}
    for split, split_patches in patches.items():
        digests[split] = digest_of_files(patch.image for patch in split_patches)
    if options.weak_model in SAM_WEAK_MODELS:
        _, sam = find_map_sam(options, options.dataset_type, Path(options.checkpoint_root))
        digests["sam"] = digest_of_files([sam])
    if options.subclasses and Path(options.subclass_features).is_file():
        digests["subclass_features"] = digest_of_files([Path(options.subclass_features)])
    if Path(options.pretrained).is_file():
        digests["start"] = digest_of_files([Path(options.pretrained)])
    return digests


if __name__ == "__main__":
    run_stage(NAME, ClassifierOptions, main, owns=run_folder, is_shared=True)
