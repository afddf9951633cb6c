"""Sanity checks of a stage's output: with a degenerate output the next stage would learn nothing,
so it must not be taken silently.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from epsam.data.images import Mask

CHANCE_AUROC = 0.55
"""This project: a classifier up to here counts as guessing; the CAMs of such a one mean nothing."""


@dataclass
class MaskCounts:
    """The number of masks, and how many of them are entirely empty or entirely full."""

    total: int = 0
    empty: int = 0
    full: int = 0

    def add(self, mask: Mask) -> None:
        self.total += 1
        self.empty += not mask.any()
        self.full += bool(mask.all())

    def include(self, other: "MaskCounts") -> None:
        """Count the masks of `other`, too."""
        self.total += other.total
        self.empty += other.empty
        self.full += other.full

    def degenerate_output(self, plural: str) -> str:
        """What is wrong if every mask is empty or full; "" if not, and without masks.

        plural: the masks' name in the message, such as "initial masks".
        """
        if not self.total or self.empty + self.full < self.total:
            return ""
        counts = []
        if self.empty:
            counts.append(f"{self.empty} empty")
        if self.full:
            counts.append(f"{self.full} full")
        return f"of {self.total} {plural} every one is empty or full ({', '.join(counts)})"


def check_classifier(history: Iterable[tuple[int, str, float]], best_epoch: int) -> str:
    """What is wrong if the classifier of the best epoch is at chance on validation; else ""."""
    for epoch, name, value in history:
        if (epoch, name) == (best_epoch, "val_auroc"):
            if math.isnan(value) or value > CHANCE_AUROC:
                return ""
            return f"the classifier is at chance on the validation patches (AUROC {value:.3f})"
    return ""


def check_pseudo_labels(acceptance: float, counts: MaskCounts) -> str:
    """What is wrong if no pseudo-label is accepted, or all masks are empty or full; else ""."""
    if acceptance == 0:
        return "none of the pseudo-labels was accepted"
    return counts.degenerate_output("pseudo-labels")
