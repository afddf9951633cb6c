"""Before a run: list all that would stop or spoil it later and takes only seconds to check."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from epsam.cam.refiner_sam import uses_sam
from epsam.config.classifier import ClassifierOptions
from epsam.config.command_line import end_with_flag_errors, parse, run_stage, try_parse
from epsam.config.common import SPLITS
from epsam.config.decoder import BoxDecoderOptions, DecoderOptions
from epsam.config.masks import MaskOptions
from epsam.config.patches import PatchOptions
from epsam.config.preflight import CheckOptions
from epsam.config.segmenter import SegmenterOptions
from epsam.core.errors import PreflightError
from epsam.core.locking import exclusive_lock
from epsam.methods import SAM_WEAK_MODELS
from epsam.paths import DatasetPaths, RunPaths, run_folder
from epsam.pipeline import StageSpec, recipe_stages
from epsam.preflight.data import (
    check_grid_search,
    check_patch_resolutions,
    check_patches,
    check_slides,
    check_training_masks,
    count_patches,
    will_reuse_patches,
)
from epsam.preflight.disk import check_disk, count_patches_at_most, estimate_needs
from epsam.preflight.finding import Finding, collect_findings
from epsam.preflight.finished_work import ReplacedWork, find_replaced_work
from epsam.preflight.leaks import check_leaks
from epsam.preflight.method import check_method_preset, check_soft_targets
from epsam.preflight.pixels import check_split_pixels
from epsam.preflight.software import (
    check_codecs,
    check_device,
    check_packages,
    check_postprocessing,
    check_python,
    check_tensorboard,
)
from epsam.preflight.source_run import check_source_run
from epsam.preflight.weights import (
    check_classifier_start,
    check_map_sam,
    check_medsam,
    check_resnet_checkpoint,
    check_sam,
    check_segmenter_start,
    find_loaded_sam,
)
from epsam.segment.sam.map_sam import map_sam_name
from epsam.segment.sam.specs import SPECS

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
TABLES = ROOT / "dataset"
SHARED_OPTIONS = (
    "dataset_type",
    "dataset_root",
    "train_dataset_dir",
    "val_dataset_dir",
    "test_dataset_dir",
    "seed",
    "recipe",
    "method_preset",
    "run",
    "checkpoint_root",
    "device",
    "precision",
    "sam_model_type",
    "sam_checkpoint",
    "from_run",
)
"""Options that train.sh passes to every stage that has them."""

MAP_SAM_OPTIONS = {"map_sam": "sam_model_type", "map_sam_checkpoint": "sam_checkpoint"}
"""Options of stages that train.sh gives the value of another one."""

Check = Callable[[], Iterator[Finding]]


def main(options: CheckOptions) -> None:
    """Run all checks and log all findings.

    Raises PreflightError if one of them stops the run, and FinishedWorkError if the run would
    replace what an earlier one has finished, unless --replace says that it may.
    """
    findings = list(collect_findings(build_checks(options)))
    finished = find_finished_work(options)
    problems = [finding.message for finding in findings if finding.stops_run]
    notes = [finding.message for finding in findings if finding.is_note]
    notes += finished.describe()
    warnings = [
        finding.message for finding in findings if not finding.stops_run and not finding.is_note
    ]
    for message in notes:
        log.info("  note: %s", message)
    for message in problems:
        log.info("  PROBLEM: %s", message)
    for message in warnings:
        log.info("  warning: %s", message)
    log.info("check: problems %d, warnings %d", len(problems), len(warnings))
    if len(problems) > 1:
        raise PreflightError(
            f"{len(problems)} problems would stop this run, see the list above; first {problems[0]}"
        )
    if problems:
        raise PreflightError(problems[0])
    if options.replace:
        finished.mark_outdated()
    else:
        finished.refuse_to_replace()


def find_finished_work(options: CheckOptions) -> ReplacedWork:
    """What the run would replace, of patches and of its own folder."""
    stages = recipe_stages(options.recipe)
    of_stage = {stage.name: parse_stage_options(stage, options) for stage in stages}
    return find_replaced_work(options, of_stage, TABLES)


def build_checks(options: CheckOptions) -> list[Check]:
    """All checks of a run, independent of each other.

    Ends the process with 2 if the flags of a stage are wrong, as the stage itself would.
    """
    of_stage: dict[str, Any] = {}
    errors: list[str] = []
    for stage in recipe_stages(options.recipe):
        arguments = stage_arguments(stage, options)
        of_stage[stage.name], bad_flags = try_parse(
            stage.name, stage.load_options_class(), arguments
        )
        errors += bad_flags
    # A bad flag that all stages share is told once for each of them.
    if errors:
        end_with_flag_errors(errors)
    logs_to_tensorboard = any(
        getattr(stage_options, "tensorboard", False) for stage_options in of_stage.values()
    )
    return [
        check_python,
        partial(check_method_preset, options.recipe, options.method_preset),
        partial(check_packages, ROOT / "requirements.txt"),
        partial(check_tensorboard, logs_to_tensorboard),
        check_codecs,
        partial(check_lock, options),
        partial(check_soft_targets, of_stage),
        *build_weight_checks(of_stage, options),
        *build_data_checks(DatasetPaths.of(options), of_stage),
    ]


def build_weight_checks(of_stage: Mapping[str, Any], options: CheckOptions) -> list[Check]:
    """Checks of the device, and of the weights and packages that the stages of the method need."""
    checkpoint_root = Path(options.checkpoint_root)
    checks: list[Check] = []
    # The small SAM of the demo comes with the repository and is quick on any device.
    is_published_sam = False
    decoder = find_decoder_options(of_stage)
    if decoder:
        is_published_sam = bool(SPECS[decoder.sam_model_type].url)
        loaded_sam = find_loaded_sam(RunPaths.of(decoder), decoder.sam_model_type)
        box_options: BoxDecoderOptions | None = of_stage.get("train_box_decoder")
        if box_options and box_options.is_medsam:
            checks.append(partial(check_medsam, box_options, checkpoint_root, loaded_sam))
        else:
            checks.append(partial(check_sam, decoder, checkpoint_root, loaded_sam))
    if "train_classifier" in of_stage:
        classifier: ClassifierOptions = of_stage["train_classifier"]
        if classifier.weak_model in SAM_WEAK_MODELS:
            is_published_sam = bool(
                SPECS[map_sam_name(classifier.map_sam, options.dataset_type)].url
            )
            checks.append(partial(check_map_sam, classifier, options.dataset_type, checkpoint_root))
        else:
            checks.append(partial(check_classifier_start, classifier, checkpoint_root))
    if "generate_initial_masks" in of_stage:
        masks: MaskOptions = of_stage["generate_initial_masks"]
        checks.append(partial(check_postprocessing, masks))
        checks.append(partial(check_resnet_checkpoint, masks))
        if uses_sam(masks):
            checks.append(partial(check_map_sam, masks, masks.dataset_type, checkpoint_root))
    if "train_segmenter" in of_stage:
        checks.append(partial(check_source_run, of_stage["train_segmenter"]))
        checks.append(partial(check_segmenter_start, of_stage["train_segmenter"], checkpoint_root))
    checks.insert(0, partial(check_device, options.device, options.precision, is_published_sam))
    return checks


def parse_stage_options(stage: StageSpec, options: CheckOptions) -> Any:
    """The options of a stage, from those that all stages share and from its own flags."""
    return parse(stage.name, stage.load_options_class(), stage_arguments(stage, options))


def stage_arguments(stage: StageSpec, options: CheckOptions) -> list[str]:
    """The command line of a stage, as train.sh would give it."""
    options_class = stage.load_options_class()
    flags = getattr(options, stage.flags_option) if stage.flags_option else ""
    accepted = {field.name for field in fields(options_class)}
    arguments = []
    for name in (*SHARED_OPTIONS, *MAP_SAM_OPTIONS):
        value = getattr(options, MAP_SAM_OPTIONS.get(name, name))
        # An empty option is left to the dataset's preset.
        if name in accepted and value != "":
            arguments.append(f"--{name}={value}")
    # The shell splits an unquoted variable at blanks, and quotes in it are plain characters.
    return [*arguments, *flags.split()]


def find_decoder_options(of_stage: Mapping[str, Any]) -> DecoderOptions | None:
    """How SAM's decoder is trained first; None for a method without SAM."""
    if "train_box_decoder" in of_stage:
        box_options: BoxDecoderOptions = of_stage["train_box_decoder"]
        return box_options.as_decoder_options()
    return of_stage.get("finetune_decoder")


def build_data_checks(paths: DatasetPaths, of_stage: Mapping[str, Any]) -> list[Check]:
    """Checks of the slides, or of the patches if training starts from them, and of the disk.

    of_stage: the options of each stage of the method.
    """
    patch: PatchOptions = of_stage["extract_patches"]
    reuses_patches = will_reuse_patches(paths, TABLES, patch)
    if reuses_patches:
        counts = {split: count_patches(paths, split) for split in SPLITS}
    else:
        counts = count_patches_at_most(patch)
    needs = estimate_needs(
        counts,
        not reuses_patches,
        patch,
        find_decoder_options(of_stage),
        of_stage.get("generate_initial_masks"),
    )
    root = next(o.checkpoint_root for o in of_stage.values() if hasattr(o, "checkpoint_root"))

    checks: list[Check] = [partial(check_disk, needs, paths.root, Path(root))]
    if "generate_initial_masks" in of_stage:
        masks: MaskOptions = of_stage["generate_initial_masks"]
        checks.append(partial(check_grid_search, paths, reuses_patches, masks))
    if not reuses_patches:
        return [*checks, partial(check_slides, paths, TABLES, patch)]
    classifier: ClassifierOptions = of_stage.get("train_classifier", ClassifierOptions())
    image_dirs = (classifier.train_image_dir, classifier.val_image_dir, classifier.test_image_dir)
    for split, image_dir in zip(SPLITS, image_dirs, strict=True):
        checks.append(partial(check_patches, paths, split, image_dir))
        checks.append(partial(check_split_pixels, paths, split, image_dir))
    segmenter: SegmenterOptions | None = of_stage.get("train_segmenter")
    is_supervised = segmenter is not None and segmenter.targets == "ground_truth"
    if is_supervised or "train_box_decoder" in of_stage:
        checks.append(partial(check_training_masks, paths))
    checks += [partial(check_leaks, paths), partial(check_patch_resolutions, paths)]
    return checks


def check_lock(options: CheckOptions) -> Iterator[Finding]:
    """No other process works in the run's folder; raises BusyError if one does."""
    folder = run_folder(options)
    if folder.is_dir():
        with exclusive_lock(folder, "give this one another name with RUN or --run"):
            pass
    yield from ()


if __name__ == "__main__":
    run_stage("check", CheckOptions, main)
