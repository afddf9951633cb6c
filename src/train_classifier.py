"""Step 2: patches → Enhanced-ADL classifier (paper 3.2.1)."""

import logging
from pathlib import Path

from command_line import run_stage
from epsam.classifier.resnet import NetworkSpec, build_classifier
from epsam.classifier.weights import initial_weights, save_classifier
from epsam.data.patches import common_size, labelled_patches, require_both_classes
from epsam.device import pick_compute
from epsam.files import contents
from epsam.options import ClassifierOptions
from epsam.paths import DatasetPaths, run_folder
from epsam.record import take_over
from epsam.training.board import open_board
from epsam.training.classifier import classifier_schedule, classifier_task, score_classifier
from epsam.training.fit import fit
from epsam.training.health import classifier_trouble
from epsam.training.stage import Stage

NAME = "train_classifier"

log = logging.getLogger(__name__)


def main(options: ClassifierOptions) -> None:
    """Fit the classifier on the train patches and keep the epoch of the best validation loss."""
    data = DatasetPaths.of(options)
    train = labelled_patches(data.split("train"), options.train_image_dir)
    val = labelled_patches(data.split("val"), options.val_image_dir)
    test = labelled_patches(data.split("test"), options.test_image_dir)
    require_both_classes(train, data.split("train"))
    require_both_classes(val, data.split("val"))
    patches = {"train": train, "val": val, "test": test}
    inputs = {split: contents(patch.image for patch in found) for split, found in patches.items()}
    if Path(options.pretrained).is_file():
        inputs["start"] = contents([Path(options.pretrained)])
    stage = Stage(NAME, options, inputs)
    if stage.finished():
        return

    compute, size = pick_compute(options.device, options.precision), common_size(train)
    model = build_classifier(NetworkSpec.of(options))
    initial_weights(model, options.pretrained, options.seed, Path(options.checkpoint_root))
    model.to(compute.device)
    log.info("classifier: %s on %s, %d train, %d val, %d test patches of %d px",
             options.backbone, compute.device, len(train), len(val), len(test), size)
    task = classifier_task(model, train, val, size, options, compute)
    board = open_board(stage.run, task.name, options.tensorboard)
    progress = fit(task, classifier_schedule(options), stage.unfinished(task.name), board=board)
    if test:
        scores = score_classifier(model, test, size, options, compute)
        progress.history += [(progress.best_epoch, f"test_{name}", value) for name, value in scores.items()]
        log.info("classifier on test: accuracy %.3f, AUROC %.3f", scores["accuracy"], scores["auroc"])

    save_classifier(stage.run.classifier, model, {"patch_size": size})
    stage.record(task.name, progress.history)
    board.figures(progress.history)
    stage.finish([stage.run.classifier], classifier_trouble(progress.history, progress.best_epoch))
    take_over(data.record, stage.run.record, "extract_patches")


if __name__ == "__main__":
    run_stage(NAME, ClassifierOptions, main, owns=run_folder)
