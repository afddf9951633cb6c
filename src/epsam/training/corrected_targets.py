"""Targets of rounds where a person has corrected patches: reviewed pixels are trusted, whatever
the pseudo-label says of them.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from epsam.config.common import SPLITS
from epsam.config.decoder import RetrainOptions
from epsam.core.distributed import is_main_process, wait_for_all
from epsam.core.errors import DatasetError, TrainingError
from epsam.corrections.patches import CorrectedPatches, read_corrected_patches
from epsam.data.images import read_mask, write_probability
from epsam.data.patches import Patch, list_split_patches, read_patch_size
from epsam.paths import DatasetPaths, RunPaths
from epsam.training.example_targets import load_target
from epsam.training.round_data import (
    Example,
    RoundData,
    initial_mask_path,
    load_accepted_examples,
)

log = logging.getLogger(__name__)


def write_corrected_targets(options: RetrainOptions, data: RoundData) -> dict[str, Path]:
    """Write what --corrections says of the positives of training to the run's corrections/, and
    return the files by patch. Without the flag nothing is written, and nothing is corrected.

    Raises DatasetError if none of the corrections is of a training patch with tumour.
    """
    if not options.corrections:
        return {}
    paths, run = DatasetPaths.of(options), RunPaths.of(options)
    names = {}
    for split in SPLITS:
        names[split] = [patch.name for patch in list_split_patches(paths.split(split))]
    folder = Path(options.corrections)
    side = read_patch_size(data.train)
    corrected = read_corrected_patches(folder, names, paths.patch_table, side)
    positives = {patch.name for patch in data.train}
    targets = {}
    for name, pixels in sorted(corrected.pixels.items()):
        if name in positives:
            targets[name] = run.corrections / f"{name}.png"
            # Grey as `example_targets.load_correction` reads it.
            values = pixels.reviewed.astype(np.float32) + pixels.tumour
            if is_main_process():
                write_probability(targets[name], values / 2)
    # Those of corrections that have been taken back since.
    for path in run.corrections.glob("*.png"):
        if is_main_process() and path not in targets.values():
            path.unlink()
    # Of the processes that share the stage, none reads them before they are complete.
    wait_for_all()
    _log_summary(folder, corrected, positives)
    if not targets:
        raise DatasetError(
            f"{folder}: corrects no training patch with tumour, so there is nothing new to learn; "
            "correct some of train, or train without corrections"
        )
    return targets


def load_round_examples(
    number: int, options: RetrainOptions, patches: Sequence[Patch], targets: dict[str, Path]
) -> list[Example]:
    """The examples of a round: pseudo-labels that the round before it has accepted, and the
    corrected targets.

    Raises TrainingError if there are none.
    """
    run = RunPaths.of(options)
    accepted = load_accepted_examples(
        number, run, patches, options.pl_mode, options.soft_targets, may_be_empty=bool(targets)
    )
    examples = add_corrections(accepted, targets, run, patches, options.correction_weight)
    if not examples:
        raise TrainingError(
            f"round {number}: no pseudo-label was accepted, and the corrections hold no tumour to "
            "learn from; correct patches with tumour, or lower --ids_threshold"
        )
    return examples


def add_corrections(
    examples: Sequence[Example],
    targets: dict[str, Path],
    run: RunPaths,
    patches: Sequence[Patch],
    weight: float = 1.0,
) -> list[Example]:
    """The examples with the corrected targets: of accepted patches beside their pseudo-label, of
    the others alone, in the order of the patches.

    A patch that is left without anything to prompt is left out.
    """
    if not targets:
        return list(examples)
    by_name = {example.patch.name: example for example in examples}
    corrected = []
    for patch in patches:
        example = by_name.get(patch.name)
        if patch.name in targets:
            example = replace(
                example or Example(patch, None),
                correction=targets[patch.name],
                correction_weight=weight,
            )
            if not _has_prompt(example, run):
                continue
        if example:
            corrected.append(example)
    return corrected


def _has_prompt(example: Example, run: RunPaths) -> bool:
    """Whether there is a pixel to sample prompts from: of a target, or of the initial mask."""
    if load_target(example).any():
        return True
    return bool(read_mask(initial_mask_path(run, "train", example.patch)).any())


def _log_summary(folder: Path, corrected: CorrectedPatches, positives: set[str]) -> None:
    learnt = [pixels for name, pixels in corrected.pixels.items() if name in positives]
    reviewed = [float(pixels.reviewed.mean()) for pixels in learnt]
    log.info(
        "%s: corrections of %d training patches, %.0f %% of their pixels reviewed",
        folder,
        len(learnt),
        100 * float(np.mean(reviewed)) if reviewed else 0,
    )
    n_without_tumour = len(corrected.pixels) - len(learnt)
    if n_without_tumour:
        log.warning(
            "%s: %d corrected patches have the label 0 and are not learnt from; change their label",
            folder,
            n_without_tumour,
        )
    if corrected.not_learnt:
        log.info(
            "%s: %d files of corrections are of val or test, and are never learnt from",
            folder,
            len(corrected.not_learnt),
        )
    if corrected.unmatched:
        log.warning(
            "%s: %d files of corrections are of no patch and no slide of the dataset (first %s)",
            folder,
            len(corrected.unmatched),
            corrected.unmatched[0].name,
        )
