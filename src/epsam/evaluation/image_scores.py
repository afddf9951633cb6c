"""Scores of a split's images and cases as other systems state them: Dice, Jaccard, ASSD, HD95.

An image whose prediction and ground truth are both empty has no score. Some systems count it as 1,
which lifts the mean by whatever has no target.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from epsam.evaluation.surfaces import SurfaceDistances
from epsam.metrics import PixelCounts

NO_TARGET = PixelCounts(0, 1, 0)
"""What a mark in an image without target scores: 0."""


@dataclass(frozen=True)
class PatchScore:
    """One predicted mask beside its ground truth.

    accepted: whether the predictor's IDS filter would accept it as a pseudo-label; None where
    nothing is filtered. area: of the patch, px. distances: None if one of the masks is empty.
    """

    name: str
    overlap: PixelCounts
    accepted: bool | None = None
    area: int = 0
    distances: SurfaceDistances | None = None


@dataclass(frozen=True)
class NegativeCounts:
    """What a predictor marks in all negatives of a split: patches, their area, and the marked area
    in it, px. marked_patches: names of those in which it marks anything.
    """

    patches: int
    area: int
    marked: int
    marked_patches: tuple[str, ...] = ()

    @property
    def pixels(self) -> PixelCounts:
        """The same beside a ground truth without tumour."""
        return PixelCounts(0, self.marked, 0)

    @property
    def marked_fraction(self) -> float:
        """The false-positive area as a fraction of the area; nan without negatives."""
        return self.marked / self.area if self.area else math.nan


@dataclass
class _Values:
    """The scores of some images; ASSD and HD95 only where both masks hold something."""

    dice: list[float] = field(default_factory=list)
    jaccard: list[float] = field(default_factory=list)
    assd: list[float] = field(default_factory=list)
    hd95: list[float] = field(default_factory=list)

    def add(self, counts: PixelCounts, distances: SurfaceDistances | None) -> None:
        self.dice.append(2 * counts.tp / (counts.predicted + counts.target))
        self.jaccard.append(counts.tp / (counts.predicted + counts.target - counts.tp))
        if distances is not None:
            self.assd.append(distances.assd)
            self.hd95.append(distances.hd95)


class ImageScores:
    """Collects the images of a split that have a prediction, a target, or both."""

    def __init__(self, cases: Mapping[str, str]) -> None:
        """cases: image → case; empty where none is stated."""
        self._cases = cases
        self._all = _Values()
        self._by_case: dict[str, _Values] = {}
        self._both_empty = 0

    def add(self, name: str, counts: PixelCounts, distances: SurfaceDistances | None) -> None:
        """Add an image's counts, and its distances unless a mask of it is empty."""
        if not counts.predicted and not counts.target:
            self._both_empty += 1
            return
        self._all.add(counts, distances)
        if name in self._cases:
            self._by_case.setdefault(self._cases[name], _Values()).add(counts, distances)

    def add_negatives(self, marked: Iterable[str], n_empty: int) -> None:
        """Add images without target: names of those with a prediction, and how many have none."""
        for name in marked:
            self.add(name, NO_TARGET, None)
        self._both_empty += n_empty

    def summary_columns(self) -> dict[str, Any]:
        """The columns `IMAGE_SCORE_COLUMNS` of evaluation.csv: means over images, and over cases
        of the means over the images of each.
        """
        by_case = list(self._by_case.values())
        columns = {
            "images": len(self._all.dice),
            "both_empty": self._both_empty,
            "image_dice": _mean(self._all.dice),
            "jaccard": _mean(self._all.jaccard),
            "assd": _mean(self._all.assd),
            "hd95": _mean(self._all.hd95),
        }
        if not by_case:
            return columns
        return columns | {
            "cases": len(by_case),
            "case_dice": _mean_of_means([values.dice for values in by_case]),
            "case_jaccard": _mean_of_means([values.jaccard for values in by_case]),
            "case_assd": _mean_of_means([values.assd for values in by_case]),
            "case_hd95": _mean_of_means([values.hd95 for values in by_case]),
        }


def summarize_images(
    patches: Sequence[PatchScore], negatives: NegativeCounts | None, cases: Mapping[str, str]
) -> dict[str, Any]:
    """The columns `IMAGE_SCORE_COLUMNS` of the patches with tumour, and of the negatives."""
    scores = ImageScores(cases)
    for patch in patches:
        scores.add(patch.name, patch.overlap, patch.distances)
    if negatives is not None:
        marked = negatives.marked_patches
        scores.add_negatives(marked, negatives.patches - len(marked))
    return scores.summary_columns()


def _mean(values: Sequence[float]) -> float | str:
    return round(float(np.mean(values)), 6) if values else ""


def _mean_of_means(groups: Sequence[Sequence[float]]) -> float | str:
    # A case without a distance has no mean.
    return _mean([float(np.mean(values)) for values in groups if values])
