"""Step 2: patches → Enhanced-ADL classifier (paper 3.2.1)."""

import logging
from pathlib import Path

from epsam.config.classifier import ClassifierOptions
from epsam.config.command_line import run_stage
from epsam.core.device import select_device
from epsam.core.files import digest_of_files
from epsam.core.records import copy_stage_record
from epsam.data.patches import list_labelled_patches, read_patch_size, require_both_classes
from epsam.engine.fit import fit
from epsam.engine.metric_logger import open_metric_logger
from epsam.engine.sanity import check_classifier
from epsam.engine.stage import Stage
from epsam.paths import DatasetPaths, run_folder
from epsam.training.classifier import (
    build_classifier_schedule,
    build_classifier_task,
    score_classifier,
)
from epsam.weak.resnet import NetworkSpec, build_classifier
from epsam.weak.weights import initialise_weights, save_classifier

NAME = "train_classifier"

log = logging.getLogger(__name__)


def main(options: ClassifierOptions) -> None:
    """Fit the classifier on the train patches and keep the epoch of the best validation loss."""
    data = DatasetPaths.of(options)
    train = list_labelled_patches(data.split("train"), options.train_image_dir)
    val = list_labelled_patches(data.split("val"), options.val_image_dir)
    test = list_labelled_patches(data.split("test"), options.test_image_dir)
    require_both_classes(train, data.split("train"))
    require_both_classes(val, data.split("val"))
    patches = {"train": train, "val": val, "test": test}
    inputs = {
        split: digest_of_files(patch.image for patch in found) for split, found in patches.items()
    }
    if Path(options.pretrained).is_file():
        inputs["start"] = digest_of_files([Path(options.pretrained)])
    stage = Stage(NAME, options, inputs)
    if stage.is_current():
        return
    stage.begin()

    device_config, size = select_device(options.device, options.precision), read_patch_size(train)
    model = build_classifier(NetworkSpec.of(options))
    initialise_weights(model, options.pretrained, options.seed, Path(options.checkpoint_root))
    model.to(device_config.device)
    log.info(
        "classifier: %s on %s, %d train, %d val, %d test patches of %d px",
        options.backbone,
        device_config.device,
        len(train),
        len(val),
        len(test),
        size,
    )
    task = build_classifier_task(model, train, val, size, options, device_config)
    metric_logger = open_metric_logger(stage.run, task.name, options.tensorboard)
    progress = fit(
        task,
        build_classifier_schedule(options),
        stage.progress_path(task.name),
        metric_logger=metric_logger,
    )
    if test:
        scores = score_classifier(model, test, size, options, device_config)
        progress.history += [
            (progress.best_epoch, f"test_{name}", value) for name, value in scores.items()
        ]
        log.info(
            "classifier on test: accuracy %.3f, AUROC %.3f", scores["accuracy"], scores["auroc"]
        )

    save_classifier(stage.run.classifier, model, {"patch_size": size})
    stage.record(task.name, progress.history)
    metric_logger.log_scalars(progress.history)
    stage.finish([stage.run.classifier], check_classifier(progress.history, progress.best_epoch))
    copy_stage_record(data.record, stage.run.record, "extract_patches")


if __name__ == "__main__":
    run_stage(NAME, ClassifierOptions, main, owns=run_folder)
