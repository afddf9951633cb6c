"""Dice, IoU, AUROC, sensitivity, calibration: from counts, so that no average is taken twice.

See docs/deviations.md, "Dice and IoU".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

EPSILON = 1e-3
"""Added to numerator and denominator of Dice and IoU, here and in the loss (published code)."""
CALIBRATION_BINS = 10
"""This project: bins of equal width of a calibration error; with fewer patches, more are empty."""


@dataclass(frozen=True)
class PixelCounts:
    """Pixel counts of one prediction beside its ground truth, or summed over many images.

    tp: pixels that both have; predicted, target: all pixels of the prediction and of the ground
    truth.
    """

    tp: int
    predicted: int
    target: int

    @property
    def dice(self) -> float:
        return (2 * self.tp + EPSILON) / (self.predicted + self.target + EPSILON)

    @property
    def iou(self) -> float:
        return (self.tp + EPSILON) / (self.predicted + self.target - self.tp + EPSILON)

    @property
    def precision(self) -> float:
        """Fraction of the prediction that is right; nan for an empty prediction."""
        return self.tp / self.predicted if self.predicted else float("nan")

    @property
    def recall(self) -> float:
        """Fraction of the ground truth that is predicted; nan for an empty ground truth."""
        return self.tp / self.target if self.target else float("nan")


def count_pixels(predicted: Mask, target: Mask) -> PixelCounts:
    """Counts for two masks of the same shape."""
    if predicted.shape != target.shape:
        raise ValueError(
            f"prediction of shape {predicted.shape} beside ground truth of shape {target.shape}"
        )
    tp = int((predicted & target).sum())
    return PixelCounts(tp, int(predicted.sum()), int(target.sum()))


def macro_dice_iou(overlaps: Sequence[PixelCounts]) -> tuple[float, float]:
    """Macro average: the means over images of Dice and IoU; (nan, nan) without images.

    Over positive patches it is the paper's metric. See docs/deviations.md, "Dice and IoU".
    """
    if not overlaps:
        return float("nan"), float("nan")
    return float(np.mean([o.dice for o in overlaps])), float(np.mean([o.iou for o in overlaps]))


def sum_counts(overlaps: Sequence[PixelCounts]) -> PixelCounts:
    """Counts for the micro average: all images as one, so that large tumours weigh more."""
    return PixelCounts(
        sum(o.tp for o in overlaps),
        sum(o.predicted for o in overlaps),
        sum(o.target for o in overlaps),
    )


def accuracy(probabilities: Sequence[float], labels: Sequence[int]) -> float:
    """Fraction of patches on the right side of probability 0.5; nan without patches."""
    correct = []
    for probability, label in zip(probabilities, labels, strict=True):
        correct.append((probability > 0.5) == bool(label))
    return float(np.mean(correct)) if correct else float("nan")


def auroc(probabilities: Sequence[float], labels: Sequence[int]) -> float:
    """Probability that a random positive scores above a random negative; ties count half.

    nan without positives or without negatives.
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    is_positive = np.asarray(labels) > 0
    positives, negatives = int(is_positive.sum()), int((~is_positive).sum())
    if not positives or not negatives:
        return float("nan")

    # The Mann-Whitney statistic: the sum of the positives' ranks, equal scores sharing their mean
    # rank, less its smallest possible value.
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    last_rank = np.cumsum(sizes)
    mean_rank = last_rank - (sizes - 1) / 2
    rank_sum = float(mean_rank[group][is_positive].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def sensitivity_specificity(
    probabilities: Sequence[float], labels: Sequence[int], threshold: float
) -> tuple[float, float]:
    """Fractions of positives at or above the threshold, and of negatives below it.

    nan where there are no positives, or no negatives.
    """
    is_above = np.asarray(probabilities, dtype=np.float64) >= threshold
    is_positive = np.asarray(labels) > 0
    positives, negatives = int(is_positive.sum()), int((~is_positive).sum())
    hits = int((is_above & is_positive).sum())
    rejections = int((~is_above & ~is_positive).sum())
    sensitivity = hits / positives if positives else float("nan")
    specificity = rejections / negatives if negatives else float("nan")
    return sensitivity, specificity


@dataclass(frozen=True)
class ReliabilityBin:
    """Patches whose probability is in `low`..`high`: how many, their mean probability, and the
    fraction of them that is positive.
    """

    low: float
    high: float
    patches: int
    mean_probability: float
    positive_fraction: float


def reliability_bins(
    probabilities: Sequence[float], labels: Sequence[int], bins: int = CALIBRATION_BINS
) -> list[ReliabilityBin]:
    """The bins of equal width over 0..1 that hold any patch; the last one holds 1, too."""
    scores = np.asarray(probabilities, dtype=np.float64)
    is_positive = np.asarray(labels) > 0
    numbers = np.minimum((scores * bins).astype(np.int64), bins - 1)
    filled = []
    for number in np.unique(numbers).tolist():
        inside = numbers == number
        filled.append(
            ReliabilityBin(
                number / bins,
                (number + 1) / bins,
                int(inside.sum()),
                float(scores[inside].mean()),
                float(is_positive[inside].mean()),
            )
        )
    return filled


def expected_calibration_error(
    probabilities: Sequence[float], labels: Sequence[int], bins: int = CALIBRATION_BINS
) -> float:
    """Mean distance between the probability that is stated and the fraction that is positive, over
    `reliability_bins` by their numbers of patches (Guo et al. 2017); nan without patches.
    """
    total = len(probabilities)
    if not total:
        return float("nan")
    error = 0.0
    for filled in reliability_bins(probabilities, labels, bins):
        gap = abs(filled.mean_probability - filled.positive_fraction)
        error += filled.patches / total * gap
    return error
