"""What a report shows of the classifier: its figures for each split, and how far its probabilities
can be believed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from epsam.metrics import (
    auroc,
    expected_calibration_error,
    reliability_bins,
    sensitivity_specificity,
)

CLASSIFIER_TABLE_COLUMNS = (
    "split",
    "positives",
    "negatives",
    "AUROC",
    "sensitivity",
    "specificity",
    "ECE",
)

# Sizes of the reliability plot, px: its square, the margin around, and the largest dot.
PLOT_SIDE, PLOT_MARGIN = 220, 34
MIN_RADIUS, MAX_RADIUS = 3.0, 11.0


@dataclass(frozen=True)
class ReliabilityDot:
    """A bin: centre and radius in px, and what it says when pointed at."""

    x: float
    y: float
    radius: float
    text: str


@dataclass(frozen=True)
class ReliabilityPlot:
    """Dots over the square 0..1 of stated probability (right) and fraction of positives (up)."""

    caption: str
    dots: Sequence[ReliabilityDot]
    side: int = PLOT_SIDE
    margin: int = PLOT_MARGIN


def classifier_rows(
    patches: Sequence[Mapping[str, Any]], threshold: float
) -> list[dict[str, object]]:
    """A row for each split, from rows of evaluation_classifier.csv; what cannot be computed is
    empty.

    threshold: the gate's.
    """
    rows: list[dict[str, object]] = []
    for split, (scores, labels) in _scores_by_split(patches).items():
        sensitivity, specificity = sensitivity_specificity(scores, labels, threshold)
        values = {
            "AUROC": auroc(scores, labels),
            "sensitivity": sensitivity,
            "specificity": specificity,
            "ECE": expected_calibration_error(scores, labels),
        }
        row: dict[str, object] = {
            "split": split,
            "positives": sum(labels),
            "negatives": len(labels) - sum(labels),
        }
        for name, value in values.items():
            row[name] = "" if math.isnan(value) else f"{value:.4f}"
        rows.append(row)
    return rows


def make_reliability_plot(patches: Sequence[Mapping[str, Any]]) -> ReliabilityPlot | None:
    """Stated probability and fraction of positives in bins, of the last split; None without
    patches.
    """
    by_split = _scores_by_split(patches)
    if not by_split:
        return None
    split, (scores, labels) = list(by_split.items())[-1]
    dots = []
    for filled in reliability_bins(scores, labels):
        # The area of a dot, not its radius, grows with its patches.
        radius = MAX_RADIUS * math.sqrt(filled.patches / len(scores))
        dots.append(
            ReliabilityDot(
                PLOT_MARGIN + PLOT_SIDE * filled.mean_probability,
                PLOT_MARGIN + PLOT_SIDE * (1 - filled.positive_fraction),
                max(MIN_RADIUS, radius),
                f"stated {filled.mean_probability:.3f}, positive "
                f"{filled.positive_fraction:.3f} of {filled.patches}",
            )
        )
    error = expected_calibration_error(scores, labels)
    return ReliabilityPlot(f"{len(scores)} {split} patches; ECE {error:.3f}", dots)


def _scores_by_split(
    patches: Sequence[Mapping[str, Any]],
) -> dict[str, tuple[list[float], list[int]]]:
    """Probabilities and labels of each split, in the order of the table."""
    by_split: dict[str, tuple[list[float], list[int]]] = {}
    for row in patches:
        scores, labels = by_split.setdefault(str(row["split"]), ([], []))
        scores.append(float(row["probability"]))
        labels.append(int(row["label"]))
    return by_split
