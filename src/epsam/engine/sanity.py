"""Is there anything to learn from in what a stage made? If not, the next stage is not to be fed
with it silently.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from epsam.data.images import Mask

CHANCE_AUROC = 0.55
"""Ours: a classifier up to here is taken for a coin; the activation maps of one mean nothing."""


@dataclass
class MaskCounts:
    """How many masks there are, and how many of them are wholly empty or wholly full."""

    total: int = 0
    empty: int = 0
    full: int = 0

    def add(self, mask: Mask) -> None:
        self.total += 1
        self.empty += not mask.any()
        self.full += bool(mask.all())

    def degenerate_output(self, what: str) -> str:
        """Empty if some mask is neither empty nor full, or if there are no masks; else what is
        wrong.
        """
        if not self.total or self.empty + self.full < self.total:
            return ""
        kinds = [
            f"{count} {kind}"
            for count, kind in ((self.empty, "empty"), (self.full, "full"))
            if count
        ]
        return f"of {self.total} {what} every one is empty or full ({', '.join(kinds)})"


def check_classifier(history: Iterable[tuple[int, str, float]], best_epoch: int) -> str:
    """Empty unless the classifier of the best epoch cannot tell the validation patches apart; else
    what is wrong.
    """
    found = [value for epoch, name, value in history if (epoch, name) == (best_epoch, "val_auroc")]
    if not found or math.isnan(found[0]) or found[0] > CHANCE_AUROC:
        return ""
    return f"the classifier is at chance on the validation patches (AUROC {found[0]:.3f})"


def check_pseudo_labels(acceptance: float, predicted: MaskCounts) -> str:
    """Empty unless a round kept no pseudo-label or its decoder marks nothing or everything; else
    what is wrong.
    """
    if acceptance == 0:
        return "none of the pseudo-labels was kept"
    return predicted.degenerate_output("pseudo-labels")
