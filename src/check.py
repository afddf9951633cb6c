"""Before a run: everything that would stop or spoil it later and can be found in seconds, in one
list.
"""

import logging
import shlex
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TypeVar

from epsam.config.classifier import ClassifierOptions
from epsam.config.command_line import parse, run_stage
from epsam.config.common import SPLITS
from epsam.config.decoder import DecoderOptions, RetrainOptions
from epsam.config.evaluation import EvaluateOptions
from epsam.config.masks import MaskOptions
from epsam.config.patches import PatchOptions
from epsam.config.preflight import CheckOptions
from epsam.core.errors import PreflightError
from epsam.core.locking import exclusive_lock
from epsam.paths import DatasetPaths, run_folder
from epsam.preflight.data import (
    check_grid_search,
    check_patches,
    check_slides,
    count_patches,
    keeps_patches,
)
from epsam.preflight.disk import check_disk, estimate, patch_limits
from epsam.preflight.finding import Finding, collect_findings
from epsam.preflight.software import (
    check_codecs,
    check_device,
    check_packages,
    check_postprocessing,
    check_python,
    check_tensorboard,
)
from epsam.preflight.weights import check_classifier_start, check_given_classifier, check_sam
from epsam.segment.sam.models import SPECS

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
SHARED = (
    "dataset_type",
    "dataset_root",
    "train_dataset_dir",
    "val_dataset_dir",
    "test_dataset_dir",
    "seed",
    "run",
    "checkpoint_root",
    "device",
    "precision",
    "sam_model_type",
    "sam_checkpoint",
)
Stage = TypeVar("Stage")


def main(options: CheckOptions) -> None:
    """Look at everything, tell everything, and fail if something would stop the run."""
    found = sorted(collect_findings(checks(options)), key=lambda finding: not finding.stops)
    stopping = [finding.text for finding in found if finding.stops]
    for finding in found:
        log.info("  %s: %s", "PROBLEM" if finding.stops else "warning", finding.text)
    log.info("check: problems %d, warnings %d", len(stopping), len(found) - len(stopping))
    if len(stopping) > 1:
        raise PreflightError(
            f"{len(stopping)} problems would stop this run, see the list above; first {stopping[0]}"
        )
    if stopping:
        raise PreflightError(stopping[0])


def checks(options: CheckOptions) -> list[Callable[[], Iterator[Finding]]]:
    """All checks of a run, each on its own. Ends with 2, as the stage would, if a stage's flags are
    wrong.
    """
    patch = stage_options("extract_patches", PatchOptions, options, options.patch_flags)
    classifier = stage_options(
        "train_classifier", ClassifierOptions, options, options.classifier_flags
    )
    masks = stage_options("generate_initial_masks", MaskOptions, options, options.mask_flags)
    decoder = stage_options("finetune_decoder", DecoderOptions, options, options.decoder_flags)
    retrain = stage_options("retrain_decoder", RetrainOptions, options, options.retrain_flags)
    evaluate = stage_options("evaluate", EvaluateOptions, options, options.evaluate_flags)
    boards = any(stage.tensorboard for stage in (classifier, masks, decoder, retrain, evaluate))
    folder = Path(options.checkpoint_root)
    return [
        check_python,
        partial(check_packages, ROOT / "requirements.txt"),
        partial(check_tensorboard, boards),
        partial(check_postprocessing, masks),
        check_codecs,
        partial(
            check_device, options.device, options.precision, bool(SPECS[decoder.sam_model_type].url)
        ),
        partial(check_lock, options),
        partial(check_sam, decoder, folder),
        partial(check_classifier_start, classifier, folder),
        partial(check_given_classifier, masks),
        *data_checks(DatasetPaths.of(options), patch, classifier, masks, decoder),
    ]


def stage_options(stage: str, kind: type[Stage], options: CheckOptions, flags: str) -> Stage:
    """A stage's options from what all stages share and from its own flags."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    shared = [
        f"--{name}={getattr(options, name)}"
        for name in SHARED
        if name in known and getattr(options, name) != ""
    ]
    return parse(stage, kind, [*shared, *shlex.split(flags)])


def data_checks(
    paths: DatasetPaths,
    patch: PatchOptions,
    classifier: ClassifierOptions,
    masks: MaskOptions,
    decoder: DecoderOptions,
) -> list[Callable[[], Iterator[Finding]]]:
    """Checks of slides or, where training starts from them, patches, and of the room for what
    follows.
    """
    tables = ROOT / "dataset"
    stay = keeps_patches(paths, tables, patch)
    counts = (
        {split: count_patches(paths, split) for split in SPLITS} if stay else patch_limits(patch)
    )
    needs = estimate(counts, not stay, patch, decoder)
    room = partial(check_disk, needs, paths.root, Path(classifier.checkpoint_root))
    grid = partial(check_grid_search, paths, stay, masks)
    if not stay:
        return [room, grid, partial(check_slides, paths, tables, patch)]
    given = (classifier.train_image_dir, classifier.val_image_dir, classifier.test_image_dir)
    return [
        room,
        grid,
        *(
            partial(check_patches, paths, split, image_dir)
            for split, image_dir in zip(SPLITS, given, strict=True)
        ),
    ]


def check_lock(options: CheckOptions) -> Iterator[Finding]:
    """No other process works in the run's folder; one that does is an error of the claim."""
    folder = run_folder(options)
    if folder.is_dir():
        with exclusive_lock(folder, "give this one another name with RUN or --run"):
            pass
    yield from ()


if __name__ == "__main__":
    run_stage("check", CheckOptions, main)
