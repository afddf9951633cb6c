"""Dice, IoU, accuracy and AUROC from counts, so that no average is taken twice (methods D38)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

EPSILON = 1e-3
"""Added to numerator and denominator of Dice and IoU, in the loss alike (ours)."""


@dataclass(frozen=True)
class PixelCounts:
    """Pixel counts of one prediction beside its truth, or summed over many."""

    both: int
    predicted: int
    true: int

    @property
    def dice(self) -> float:
        return (2 * self.both + EPSILON) / (self.predicted + self.true + EPSILON)

    @property
    def iou(self) -> float:
        return (self.both + EPSILON) / (self.predicted + self.true - self.both + EPSILON)


def count_pixels(predicted: Mask, true: Mask) -> PixelCounts:
    """Counts for two masks of the same shape."""
    if predicted.shape != true.shape:
        raise ValueError(
            f"prediction of shape {predicted.shape} beside truth of shape {true.shape}"
        )
    return PixelCounts(int((predicted & true).sum()), int(predicted.sum()), int(true.sum()))


def macro_dice_iou(overlaps: Sequence[PixelCounts]) -> tuple[float, float]:
    """Means over images of Dice and IoU; (nan, nan) without images. This is the paper's figure,
    over positives.
    """
    if not overlaps:
        return float("nan"), float("nan")
    return float(np.mean([o.dice for o in overlaps])), float(np.mean([o.iou for o in overlaps]))


def sum_counts(overlaps: Sequence[PixelCounts]) -> PixelCounts:
    """All images as if they were one: large tumours weigh more than in the mean over images."""
    return PixelCounts(
        sum(o.both for o in overlaps),
        sum(o.predicted for o in overlaps),
        sum(o.true for o in overlaps),
    )


def accuracy(probabilities: Sequence[float], labels: Sequence[int]) -> float:
    """Share of patches on the right side of probability 0.5; nan without patches."""
    hits = [
        (probability > 0.5) == bool(label)
        for probability, label in zip(probabilities, labels, strict=True)
    ]
    return float(np.mean(hits)) if hits else float("nan")


def auroc(probabilities: Sequence[float], labels: Sequence[int]) -> float:
    """Probability that a random positive scores above a random negative, ties counting half; nan if
    one is missing.
    """
    scores, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels) > 0
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return float("nan")
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    last_rank = np.cumsum(sizes)
    mean_rank = last_rank - (sizes - 1) / 2
    rank_sum = float(mean_rank[group][truth].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)
