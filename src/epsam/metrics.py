"""Dice, IoU, accuracy and AUROC from counts, so that no average is taken twice.

See docs/deviations.md, "Dice and IoU".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

EPSILON = 1e-3
"""Added to numerator and denominator of Dice and IoU, here and in the loss (published code)."""


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
