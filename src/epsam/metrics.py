"""Dice, IoU, accuracy and AUROC from counts, so that no average is taken twice.

See docs/deviations.md, "Dice and IoU".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

EPSILON = 1e-3
"""Added to numerator and denominator of Dice and IoU, in the loss alike (ours)."""


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
    """Means over images of Dice and IoU; (nan, nan) without images. This is the paper's figure,
    over positives.
    """
    if not overlaps:
        return float("nan"), float("nan")
    return float(np.mean([o.dice for o in overlaps])), float(np.mean([o.iou for o in overlaps]))


def sum_counts(overlaps: Sequence[PixelCounts]) -> PixelCounts:
    """All images as if they were one: large tumours weigh more than in the mean over images."""
    return PixelCounts(
        sum(o.tp for o in overlaps),
        sum(o.predicted for o in overlaps),
        sum(o.target for o in overlaps),
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
