"""Scores of all predictors of a run on each split (paper Tables 2 to 6)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from epsam.config.common import SPLITS
from epsam.config.decoder import SelectionOptions
from epsam.config.evaluation import EvaluateOptions
from epsam.config.metadata import explicit_fields, merge_fields
from epsam.config.sam import PromptOptions, PromptOverrides
from epsam.data.cam_store import CamStore, load_cams
from epsam.data.images import Mask, read_mask
from epsam.data.patches import Patch, list_labelled_patches, read_patch_size, select_positives
from epsam.evaluation.predictors import (
    DecoderPredictor,
    InitialMasks,
    Predictor,
    load_preliminary_metadata,
    load_segmenter_predictor,
    metadata_by_predictor,
    open_predictors,
    prompt_options_by_predictor,
)
from epsam.metrics import PixelCounts, count_pixels, macro_dice_iou, sum_counts
from epsam.paths import DatasetPaths, RunPaths
from epsam.pseudo_labels.selection import PseudoLabelSelection, build_selection
from epsam.tables import INITIAL
from epsam.training.cams import find_mask_classifier
from epsam.training.decoder import PromptedPatch
from epsam.training.sam_setup import initial_mask_path, prompt_patches


@dataclass(frozen=True)
class SplitCase:
    """What is scored of a split: its positives with ground truth, and their CAMs.

    prompted_patches: the same patches by predictor, each prompted as in that predictor's training.
    """

    split: str
    prompted_patches: dict[str, list[PromptedPatch]]
    cams: CamStore

    @property
    def patches(self) -> list[Patch]:
        """The scored patches."""
        return [prompted.patch for prompted in self.prompted_patches[INITIAL]]


@dataclass(frozen=True)
class Evaluation:
    """A run ready to be scored.

    predictors: in the order of training. selection: by predictor, how its pseudo-labels are
    filtered; nothing is filtered for a predictor without an entry.
    """

    run: RunPaths
    cases: list[SplitCase]
    predictors: list[Predictor]
    selection: dict[str, PseudoLabelSelection]

    @property
    def last_predictor(self) -> Predictor:
        """What the run's training has ended with."""
        return self.predictors[-1]


@dataclass(frozen=True)
class PatchScore:
    """One predicted mask beside its ground truth.

    accepted: whether the predictor's IDS filter would accept it as a pseudo-label; None where
    nothing is filtered.
    """

    name: str
    overlap: PixelCounts
    accepted: bool | None = None


@dataclass(frozen=True)
class SplitScores:
    """The scores of one predictor on all patches of a split."""

    split: str
    predictor: str
    patches: list[PatchScore]

    def summary_row(self) -> dict[str, Any]:
        """A row of evaluation.csv: macro averages over patches, and micro averages ("pooled")."""
        overlaps = [patch.overlap for patch in self.patches]
        dice, iou = macro_dice_iou(overlaps)
        total = sum_counts(overlaps)
        row: dict[str, Any] = {
            "split": self.split,
            "what": self.predictor,
            "patches": len(self.patches),
            "dice": round(dice, 6),
            "iou": round(iou, 6),
            "pooled_dice": round(total.dice, 6),
            "pooled_iou": round(total.iou, 6),
        }

        # The columns are named after the IDS filter's first version: "kept" is what it accepts.
        # They stay empty for masks that are no pseudo-labels.
        if any(patch.accepted is not None for patch in self.patches):
            accepted = [patch.overlap for patch in self.patches if patch.accepted]
            # Without an accepted mask the mean is nan, which the table leaves empty.
            accepted_dice, _ = macro_dice_iou(accepted)
            row["kept"] = round(len(accepted) / len(self.patches), 6)
            row["kept_dice"] = "" if math.isnan(accepted_dice) else round(accepted_dice, 6)
        return row

    def patch_rows(self) -> list[dict[str, Any]]:
        """A row of evaluation_patches.csv for each patch."""
        rows = []
        for patch in self.patches:
            row = {
                "split": self.split,
                "what": self.predictor,
                "id": patch.name,
                "dice": round(patch.overlap.dice, 6),
                "iou": round(patch.overlap.iou, 6),
            }
            rows.append(row)
        return rows


def prepare_evaluation(options: EvaluateOptions) -> Evaluation:
    """Load a run's predictors, and prompt each patch that has a ground-truth mask; splits without
    any are left out.
    """
    data, run = DatasetPaths.of(options), RunPaths.of(options)
    positives = {}
    for split in SPLITS:
        positives[split] = select_positives(list_labelled_patches(data.split(split)))
    patch_size = read_patch_size(positives["train"])

    scored_patches = {}
    for split, patches in positives.items():
        with_mask = [patch for patch in patches if patch.mask]
        if with_mask:
            scored_patches[split] = with_mask

    # A run may end with its initial masks; then there is no decoder to load.
    preliminary = load_preliminary_metadata(run)
    metadata = metadata_by_predictor(run, preliminary)
    overrides = explicit_fields(PromptOverrides, options)
    prompt_options = prompt_options_by_predictor(metadata, overrides)
    sam_predictors = None
    if preliminary:
        sam_predictors = open_predictors(options, run, scored_patches, patch_size, prompt_options)

    # The checksum refuses CAMs of another classifier.
    _, classifier_checksum = find_mask_classifier(run)
    cases = []
    for split, patches in scored_patches.items():
        cams = load_cams(run.cams(split), classifier_checksum)
        prompted_patches = _prompt_for_predictors(
            run, split, patches, cams, prompt_options, options.seed
        )
        cases.append(SplitCase(split, prompted_patches, cams))

    predictors: list[Predictor] = [InitialMasks(run)]
    selection: dict[str, PseudoLabelSelection] = {}
    if sam_predictors:
        for name in sam_predictors.decoder_files:
            prompted = {case.split: case.prompted_patches[name] for case in cases}
            predictors.append(DecoderPredictor(name, sam_predictors, prompted))
            selection[name] = build_selection(merge_fields(SelectionOptions, metadata[name]))
    if run.segmenter.is_file():
        predictors.append(load_segmenter_predictor(options, run))
    return Evaluation(run, cases, predictors, selection)


def _prompt_for_predictors(
    run: RunPaths,
    split: str,
    patches: Sequence[Patch],
    cams: CamStore,
    prompt_options: dict[str, PromptOptions],
    seed: int,
) -> dict[str, list[PromptedPatch]]:
    """The patches of a split by predictor, prompted for it."""
    # Sampling is slow; predictors with equal options share their prompts.
    prompts_by_options = {}
    for options in set(prompt_options.values()):
        prompts_by_options[options] = prompt_patches(run, split, patches, cams, options, (seed,))

    prompted_patches = {}
    for predictor, options in prompt_options.items():
        prompted_patches[predictor] = prompts_by_options[options]
    return prompted_patches


def score_splits(evaluation: Evaluation) -> list[SplitScores]:
    """Scores of every predictor on every split, splits in their order and predictors in that of
    training.
    """
    scores = []
    for case in evaluation.cases:
        references = _load_references(evaluation.run, case)
        for predictor in evaluation.predictors:
            masks = predictor.masks(case.split, case.patches)
            # Only predictions on train become pseudo-labels.
            selection = evaluation.selection.get(predictor.name) if case.split == "train" else None
            scores.append(_score_masks(case.split, predictor.name, masks, references, selection))
    return scores


def select_extreme_patches(scores: SplitScores, count: int = 2) -> list[str]:
    """Names of the `count` patches of lowest Dice, those in the middle, and those of highest, in
    that order; none twice.
    """
    ranked = sorted(scores.patches, key=lambda patch: patch.overlap.dice)
    middle = max(0, (len(ranked) - count) // 2)
    extremes = [*ranked[:count], *ranked[middle : middle + count], *ranked[-count:]]
    return list(dict.fromkeys(patch.name for patch in extremes))


@dataclass(frozen=True)
class _Reference:
    """What the predicted masks of a patch are compared with."""

    name: str
    ground_truth: Mask
    initial_mask: Mask


def _load_references(run: RunPaths, case: SplitCase) -> list[_Reference]:
    references = []
    for patch in case.patches:
        initial_mask = read_mask(initial_mask_path(run, case.split, patch))
        references.append(_Reference(patch.name, patch.ground_truth(), initial_mask))
    return references


def _score_masks(
    split: str,
    predictor: str,
    masks: Sequence[Mask],
    references: Sequence[_Reference],
    selection: PseudoLabelSelection | None = None,
) -> SplitScores:
    """Compare masks with their references, and apply the filter of pseudo-labels, if any.

    All masks are scored, accepted or not: the paper's Table 5 is before the filter.
    """
    patches = []
    for mask, reference in zip(masks, references, strict=True):
        accepted = None
        if selection is not None:
            accepted = selection.decide(reference.initial_mask, mask).accepted
        overlap = count_pixels(mask, reference.ground_truth)
        patches.append(PatchScore(reference.name, overlap, accepted))
    return SplitScores(split, predictor, patches)
