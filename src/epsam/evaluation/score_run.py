"""Scores of all predictors of a run on each split (paper Tables 2 to 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from epsam.data.cam_store import CamStore
from epsam.data.images import Mask, read_mask
from epsam.data.patches import Patch
from epsam.evaluation.classification import Classification, round_or_empty
from epsam.evaluation.image_scores import NegativeCounts, PatchScore, summarize_images
from epsam.evaluation.predictors import Predictor, predict_shared
from epsam.evaluation.surfaces import measure_surfaces
from epsam.evaluation.tumour_fractions import WindowCounts, summarize_by_fraction
from epsam.metrics import PixelCounts, count_pixels, macro_dice_iou, sum_counts
from epsam.paths import RunPaths
from epsam.pseudo_labels.selection import PseudoLabelSelection
from epsam.tables import ALL_FILLED, FILL
from epsam.training.decoder import PromptedPatch
from epsam.training.round_data import initial_mask_path

_NO_CASES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class SplitCase:
    """What is scored of a split: its positives with ground truth, and their CAMs.

    prompted_patches: the same patches by predictor, each prompted as in that predictor's training;
    empty for a run without initial masks. cams: None for such a run.
    """

    split: str
    patches: list[Patch]
    prompted_patches: dict[str, list[PromptedPatch]]
    cams: CamStore | None


@dataclass(frozen=True)
class Evaluation:
    """A run ready to be scored.

    predictors: in the order of training. selection: by predictor, how its pseudo-labels are
    filtered; nothing is filtered for a predictor without an entry. classifications: by split.
    passed_negatives: by split, the negatives that pass the gate; a split without an entry has none,
    or none was classified. mask_threshold: that of the predictors' masks. mask_on_validation: what
    agrees best with the initial masks of validation; None if it was not looked for.
    """

    run: RunPaths
    cases: list[SplitCase]
    predictors: list[Predictor]
    selection: dict[str, PseudoLabelSelection]
    classifications: dict[str, Classification] = field(default_factory=dict)
    passed_negatives: dict[str, SplitCase] = field(default_factory=dict)
    mask_threshold: float = 0.5
    mask_on_validation: float | None = None

    @property
    def last_predictor(self) -> Predictor:
        """What the run's training has ended with."""
        return self.predictors[-1]


@dataclass(frozen=True)
class SplitScores:
    """The scores of one predictor on all patches of a split.

    patches: those with tumour. negatives: what the predictor marks in all negatives together, after
    the gate; None if that is not known. classification: None if nothing was classified, or for the
    masks of no method.
    """

    split: str
    predictor: str
    patches: list[PatchScore]
    negatives: NegativeCounts | None = None
    classification: Classification | None = None

    def summary_row(self, cases: Mapping[str, str] = _NO_CASES) -> dict[str, Any]:
        """A row of evaluation.csv: macro averages over patches, and micro averages ("pooled").

        cases: patch → case, where patches.csv states cases.
        """
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
            row["kept_dice"] = round_or_empty(accepted_dice)
        row |= self._all_patch_columns(total)
        return row | summarize_images(self.patches, self.negatives, cases)

    def _all_patch_columns(self, positives: PixelCounts) -> dict[str, Any]:
        """The columns that count negatives, too; `positives` are the counts of patches with
        tumour.
        """
        columns = self.classification.summary_columns() if self.classification else {}
        if self.negatives is None:
            return columns
        total = sum_counts([positives, self.negatives.pixels])
        columns |= {
            "all_patches": len(self.patches) + self.negatives.patches,
            "all_iou": round(total.iou, 6),
            "precision": round_or_empty(total.precision),
            "recall": round_or_empty(total.recall),
            "negatives": self.negatives.patches,
            "false_positive_area": round_or_empty(self.negatives.marked_fraction),
        }
        return columns

    def fraction_rows(self) -> list[dict[str, Any]]:
        """Rows of evaluation_fractions.csv: the patches by the fraction of them that is tumour."""
        windows = [WindowCounts(patch.overlap, patch.area) for patch in self.patches]
        if self.negatives is not None and self.negatives.patches:
            negatives = self.negatives
            windows.append(WindowCounts(negatives.pixels, negatives.area, negatives.patches))
        rows = []
        for row in summarize_by_fraction(windows):
            rows.append({"split": self.split, "what": self.predictor, **row})
        return rows

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


@dataclass(frozen=True)
class _Reference:
    """What the predicted masks of a patch are compared with; a run may have no initial masks."""

    name: str
    ground_truth: Mask
    initial_mask: Mask | None


def score_splits(evaluation: Evaluation, batch_size: int = 1) -> list[SplitScores]:
    """Scores of every predictor on every split, splits in their order and predictors in that of
    training, after the masks of no method.

    batch_size: patches that processes do not part, so that rounding is that of one process.
    """
    scores = []
    for case in evaluation.cases:
        references = _load_references(evaluation.run, case)
        classification = evaluation.classifications.get(case.split)
        scores += _score_filled(case.split, references, classification)
        for predictor in evaluation.predictors:
            masks = predict_shared(predictor, case.split, case.patches, batch_size)
            # Only predictions on train become pseudo-labels.
            selection = evaluation.selection.get(predictor.name) if case.split == "train" else None
            patches = _score_masks(masks, references, selection)
            negatives = None
            if classification is not None:
                passed = evaluation.passed_negatives.get(case.split)
                negatives = _count_in_negatives(
                    predictor, classification, passed, references, batch_size
                )
            scores.append(
                SplitScores(case.split, predictor.name, patches, negatives, classification)
            )
    return scores


def _score_filled(
    split: str, references: Sequence[_Reference], classification: Classification | None
) -> list[SplitScores]:
    """Scores of two masks of no method: every positive patch filled, and every patch filled.

    The first knows all labels; what is not above it has outlined nothing.
    """
    filled = [np.ones_like(reference.ground_truth) for reference in references]
    patches = _score_masks(filled, references)
    by_label = by_all = None
    if classification is not None:
        area = _area_of_negatives(classification, references)
        names = tuple(patch.name for patch in classification.negatives)
        by_label = NegativeCounts(len(names), area, 0)
        by_all = NegativeCounts(len(names), area, area, names)
    return [
        SplitScores(split, FILL, patches, by_label),
        SplitScores(split, ALL_FILLED, patches, by_all),
    ]


def _count_in_negatives(
    predictor: Predictor,
    classification: Classification,
    passed: SplitCase | None,
    references: Sequence[_Reference],
    batch_size: int,
) -> NegativeCounts:
    """What a predictor marks in a split's negatives; only those that `passed` are predicted."""
    marked = 0
    names = []
    if passed is not None:
        masks = predict_shared(predictor, passed.split, passed.patches, batch_size)
        for patch, mask in zip(passed.patches, masks, strict=True):
            marked += int(np.count_nonzero(mask))
            if mask.any():
                names.append(patch.name)
    area = _area_of_negatives(classification, references)
    return NegativeCounts(len(classification.negatives), area, marked, tuple(names))


def _area_of_negatives(classification: Classification, references: Sequence[_Reference]) -> int:
    """The area of a split's negatives, px: all patches of a dataset have one size."""
    return len(classification.negatives) * references[0].ground_truth.size


def select_extreme_patches(scores: SplitScores, count: int = 2) -> list[str]:
    """Names of the `count` patches of lowest Dice, those in the middle, and those of highest, in
    that order; none twice.
    """
    ranked = sorted(scores.patches, key=lambda patch: patch.overlap.dice)
    middle = max(0, (len(ranked) - count) // 2)
    extremes = [*ranked[:count], *ranked[middle : middle + count], *ranked[-count:]]
    return list(dict.fromkeys(patch.name for patch in extremes))


def _load_references(run: RunPaths, case: SplitCase) -> list[_Reference]:
    references = []
    for patch in case.patches:
        initial_mask = None
        if case.prompted_patches:
            initial_mask = read_mask(initial_mask_path(run, case.split, patch))
        references.append(_Reference(patch.name, patch.ground_truth(), initial_mask))
    return references


def _score_masks(
    masks: Sequence[Mask],
    references: Sequence[_Reference],
    selection: PseudoLabelSelection | None = None,
) -> list[PatchScore]:
    """Compare masks with their references, and apply the filter of pseudo-labels, if any.

    All masks are scored, accepted or not: the paper's Table 5 is before the filter.
    """
    patches = []
    for mask, reference in zip(masks, references, strict=True):
        accepted = None
        if selection is not None and reference.initial_mask is not None:
            accepted = selection.decide(reference.initial_mask, mask).accepted
        overlap = count_pixels(mask, reference.ground_truth)
        area = reference.ground_truth.size
        distances = measure_surfaces(mask, reference.ground_truth)
        patches.append(PatchScore(reference.name, overlap, accepted, area, distances))
    return patches
