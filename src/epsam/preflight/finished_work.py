"""What a run would replace of the work that an earlier one has finished."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epsam.config.classifier import ClassifierOptions
from epsam.config.decoder import DecoderOptions, RetrainOptions
from epsam.config.preflight import CheckOptions
from epsam.core.errors import EpsamError
from epsam.core.files import digest_of_files
from epsam.data.patches import list_labelled_patches, select_positives
from epsam.engine.replacement import (
    FinishedWork,
    finished_work,
    mark_outdated,
    refuse_to_replace,
)
from epsam.engine.stage import Stage
from epsam.extraction.replace_patches import (
    describe_replacement,
    mark_patches_outdated,
    refuse_to_replace_patches,
)
from epsam.paths import DatasetPaths, RunPaths
from epsam.pipeline import training_stages
from epsam.recipes import EP_SAM
from epsam.stage_files import list_later_completions


@dataclass(frozen=True)
class ReplacedWork:
    """Finished work that a run would replace; patches: as `describe_replacement` says it."""

    paths: DatasetPaths
    options: CheckOptions
    patches: str
    stages: list[FinishedWork]

    def describe(self) -> list[str]:
        """A line for each."""
        run = RunPaths.of(self.options)
        lines = [f"would be lost: {self.patches}"] if self.patches else []
        lines += [f"would be lost: {work.describe(run.record)}" for work in self.stages]
        return lines

    def refuse_to_replace(self) -> None:
        """Raise FinishedWorkError if there is any."""
        refuse_to_replace_patches(self.patches)
        refuse_to_replace(self.options, self.stages)

    def mark_outdated(self) -> None:
        """Note that the user has agreed, for the stages and for a run that is interrupted."""
        if self.patches:
            mark_patches_outdated(self.paths)
        completions = [work.completion for work in self.stages]
        mark_outdated(RunPaths.of(self.options), completions, "the user has agreed")


def find_replaced_work(
    options: CheckOptions, options_of_stage: Mapping[str, Any], tables: Path
) -> ReplacedWork:
    """What a run with these options would replace; options_of_stage: by the stage's name."""
    paths, patch_options = DatasetPaths.of(options), options_of_stage["extract_patches"]
    try:
        patches = describe_replacement(paths, tables, patch_options)
    except EpsamError:
        # The check of the slides reports it.
        patches = ""
    stages = list(find_replaced_stages(options_of_stage, bool(patches), options.recipe))
    return ReplacedWork(paths, options, "" if patch_options.restart else patches, stages)


def find_replaced_stages(
    options_of_stage: Mapping[str, Any], replaces_patches: bool, recipe: str = EP_SAM
) -> Iterator[FinishedWork]:
    """The finished stages that would be done again, in order, each with the reason.

    options_of_stage: by the stage's name. replaces_patches: the patches are extracted again.
    """
    first = "extract_patches" if replaces_patches else ""
    completions: tuple[str, ...] = ()
    for spec in training_stages(recipe):
        options = options_of_stage[spec.name]
        run = RunPaths.of(options)
        completions = spec.completions(options)
        for completion in completions:
            reason = why_replaced(completion, options) or (f"follows {first}" if first else "")
            if not reason:
                continue
            first = first or completion
            # Whoever gives --restart has said so for this stage.
            if not options.restart:
                yield from finished_work(run, [completion], reason)

    # Rounds above --n_iter are deleted; other methods leave what they do not know.
    if isinstance(options, RetrainOptions):
        surplus = list_later_completions(run.root, completions[-1])
        yield from finished_work(run, surplus, f"--n_iter {options.n_iter}")


def why_replaced(completion: str, options: Any) -> str:
    """Which options of a finished stage have changed, or which of the files that the user brings;
    "" if none has, or if it is not finished.

    Files of other stages count as unchanged: those stages are looked at themselves.
    """
    inputs = Stage(completion, options, {}).recorded_inputs()
    if not inputs:
        return ""
    for name, digest in _digest_user_files(options).items():
        if name in inputs:
            inputs[name] = digest
    return Stage(completion, options, inputs).why_replaced()


def _digest_user_files(options: Any) -> dict[str, str]:
    """Digests of images and ground truth, by the names that stages give to them."""
    data = DatasetPaths.of(options)
    try:
        if isinstance(options, ClassifierOptions):
            return _digest_images(data, options)
        if isinstance(options, DecoderOptions):
            return _digest_ground_truth(data)
    except (EpsamError, OSError):
        # The checks of the patches report it.
        pass
    return {}


def _digest_images(data: DatasetPaths, options: ClassifierOptions) -> dict[str, str]:
    image_dirs = {
        "train": options.train_image_dir,
        "val": options.val_image_dir,
        "test": options.test_image_dir,
    }
    digests = {}
    for split, image_dir in image_dirs.items():
        patches = list_labelled_patches(data.split(split), image_dir)
        digests[split] = digest_of_files(patch.image for patch in patches)
    return digests


def _digest_ground_truth(data: DatasetPaths) -> dict[str, str]:
    digests = {}
    for split in ("train", "val"):
        patches = select_positives(list_labelled_patches(data.split(split)))
        digests[f"{split}_truth"] = digest_of_files(patch.mask for patch in patches if patch.mask)
    return digests
