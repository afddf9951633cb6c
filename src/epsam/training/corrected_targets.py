"""Targets of rounds where a person has corrected patches: reviewed pixels are trusted, whatever
the pseudo-label says of them.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from epsam.config.common import SPLITS
from epsam.config.decoder import RetrainOptions
from epsam.core.distributed import is_main_process, wait_for_all
from epsam.core.errors import DatasetError, TrainingError
from epsam.corrections.patches import CorrectedPatches, read_corrected_patches, read_places
from epsam.corrections.shapes import TrustedPixels
from epsam.data.images import read_mask, write_probability
from epsam.data.patches import Patch, list_split_patches, read_patch_size
from epsam.paths import DatasetPaths, RunPaths
from epsam.training.corrected_slides import extract_corrected_slides
from epsam.training.corrected_sources import find_outside_files, require_other_names, sort_files
from epsam.training.example_targets import load_target
from epsam.training.round_data import (
    CORRECTED,
    Example,
    RoundData,
    initial_mask_path,
    load_accepted_examples,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CorrectedTargets:
    """What rounds learn of corrections.

    files: the corrected targets by patch. further: the corrected patches among them that are no
    positives of training.
    """

    files: dict[str, Path] = field(default_factory=dict)
    further: list[Patch] = field(default_factory=list)


def write_corrected_targets(options: RetrainOptions, data: RoundData) -> CorrectedTargets:
    """Write what --corrections says of training patches to the run's corrections/. Without the flag
    nothing is written, and nothing is corrected.

    Raises DatasetError if none of the corrections is of a training patch, or if a corrected image
    outside of the dataset has a name that the dataset has already.
    """
    if not options.corrections:
        return CorrectedTargets()
    paths, run = DatasetPaths.of(options), RunPaths.of(options)
    names: dict[str, list[str]] = {}
    patches: list[Patch] = []
    for split in SPLITS:
        of_split = list_split_patches(paths.split(split))
        names[split] = [patch.name for patch in of_split]
        patches += of_split
    folder = Path(options.corrections)
    side = read_patch_size(data.train)
    corrected = read_corrected_patches(folder, names, paths.patch_table, side)
    outside = find_outside_files(options.correction_slides)
    slide_names = {place.slide for place in read_places(paths.patch_table).values()}
    require_other_names(folder, outside, patches, slide_names)
    by_use = sort_files(corrected.unmatched, outside, paths)
    slides = extract_corrected_slides(options, by_use.slides, data.train, side)
    _require_new_patches(slides.patches, patches)
    files = dict(slides.targets)
    for name, pixels in sorted(corrected.pixels.items()):
        files[name] = run.corrections / f"{name}.png"
        # Grey as `example_targets.load_correction` reads it.
        values = pixels.reviewed.astype(np.float32) + pixels.tumour
        if is_main_process():
            write_probability(files[name], values / 2)
    # Those of corrections that have been taken back since.
    for path in run.corrections.glob("*.png"):
        if is_main_process() and path not in files.values():
            path.unlink()
    # Of the processes that share the stage, none reads them before they are complete.
    wait_for_all()
    corrected.not_learnt.extend(by_use.held_out)
    _log_summary(folder, corrected, by_use.unmatched, data)
    if not files:
        raise DatasetError(
            f"{folder}: corrects no training patch, so there is nothing new to learn; correct some "
            "of train, or train without corrections"
        )
    relabelled = [patch for patch in data.normal if patch.name in corrected.pixels]
    return CorrectedTargets(files, [*relabelled, *slides.patches])


def _require_new_patches(corrected: Sequence[Patch], patches: Sequence[Patch]) -> None:
    names = {patch.name for patch in patches}
    for patch in corrected:
        if patch.name in names:
            raise DatasetError(
                f"{patch.image}: the dataset has a patch of that name; rename the corrected "
                "slide or image, and its corrections"
            )


def has_initial_masks(run: RunPaths, patches: Sequence[Patch]) -> bool:
    """Whether the initial masks of corrected patches that are no positives are there."""
    return all(initial_mask_path(run, CORRECTED, patch).is_file() for patch in patches)


def load_round_examples(
    number: int, options: RetrainOptions, patches: Sequence[Patch], corrections: CorrectedTargets
) -> list[Example]:
    """The examples of a round: pseudo-labels that the round before it has accepted, and the
    corrected targets.

    Raises TrainingError if there are none.
    """
    run = RunPaths.of(options)
    accepted = load_accepted_examples(
        number,
        run,
        patches,
        options.pl_mode,
        options.soft_targets,
        may_be_empty=bool(corrections.files),
    )
    examples = add_corrections(accepted, corrections, run, patches, options.correction_weight)
    if not examples:
        raise TrainingError(
            f"round {number}: no pseudo-label was accepted, and the corrections hold no tumour to "
            "learn from; correct patches with tumour, or lower --ids_threshold"
        )
    return examples


def add_corrections(
    examples: Sequence[Example],
    corrections: CorrectedTargets,
    run: RunPaths,
    patches: Sequence[Patch],
    weight: float = 1.0,
) -> list[Example]:
    """The examples with the corrected targets: of accepted patches beside their pseudo-label, of
    the others alone, in the order of the patches, and last those of further patches.

    A patch that is left without anything to prompt is left out.
    """
    by_name = {example.patch.name: example for example in examples}
    corrected = []
    for folder, group in (("train", patches), (CORRECTED, corrections.further)):
        for patch in group:
            example = by_name.get(patch.name)
            if patch.name in corrections.files:
                example = replace(
                    example or Example(patch, None),
                    correction=corrections.files[patch.name],
                    correction_weight=weight,
                )
                if not _has_prompt(example, initial_mask_path(run, folder, patch)):
                    continue
            if example:
                corrected.append(example)
    return corrected


def _has_prompt(example: Example, initial_mask: Path) -> bool:
    """Whether there is a pixel to sample prompts from: of a target, or of the initial mask."""
    return bool(load_target(example).any() or read_mask(initial_mask).any())


def _log_summary(
    folder: Path, corrected: CorrectedPatches, unmatched: Sequence[Path], data: RoundData
) -> None:
    reviewed = [float(pixels.reviewed.mean()) for pixels in corrected.pixels.values()]
    log.info(
        "%s: corrections of %d training patches, %.0f %% of their pixels reviewed",
        folder,
        len(reviewed),
        100 * float(np.mean(reviewed)) if reviewed else 0,
    )
    relabelled = list_relabelled(corrected.pixels, data)
    if relabelled:
        log.warning(
            "%s: %d corrected patches have another label now (first %s): the decoder learns the "
            "corrected pixels; classifier and gate stay as the labels were (docs/correcting.md)",
            folder,
            len(relabelled),
            relabelled[0],
        )
    if corrected.not_learnt:
        log.info(
            "%s: %d files of corrections are of val or test, or of a case there, and are never "
            "learnt from (first %s)",
            folder,
            len(corrected.not_learnt),
            corrected.not_learnt[0].name,
        )
    if unmatched:
        log.warning(
            "%s: %d files of corrections are of no patch, slide or image here (first %s); give the "
            "folder of their slides or images by CORRECTION_SLIDES (--correction_slides)",
            folder,
            len(unmatched),
            unmatched[0].name,
        )


def list_relabelled(pixels: Mapping[str, TrustedPixels], data: RoundData) -> list[str]:
    """Names of corrected patches whose label is wrong: label 0 with tumour, or label 1 where all
    pixels were reviewed and none is tumour.
    """
    positives = {patch.name for patch in data.train}
    names = []
    for name, of_patch in pixels.items():
        if name in positives:
            is_wrong = bool(of_patch.reviewed.all()) and not of_patch.tumour.any()
        else:
            is_wrong = bool(of_patch.tumour.any())
        if is_wrong:
            names.append(name)
    return names
