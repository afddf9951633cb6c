"""Which windows become patches: the grid, the share of tumour in each window, and the seeded choice
among them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from epsam.annotations.asap_reader import Annotations, rasterize_tumour
from epsam.core.seeding import generator

Integers = npt.NDArray[np.int64]
Fractions = npt.NDArray[np.float64]

BINS = 20
"""Bins of tumour share between 0 and 1: the published code's 5 % (methods D54)."""


@dataclass(frozen=True)
class CandidateGrid:
    """Square windows wholly inside a slide: every pair of a left and a top edge, in level-0
    pixels.
    """

    lefts_px0: Integers
    tops_px0: Integers
    side_px0: int

    @property
    def size(self) -> int:
        return len(self.lefts_px0) * len(self.tops_px0)


def make_candidate_grid(width0: int, height0: int, side_px0: int, stride_px0: int) -> CandidateGrid:
    """The full grid of windows at the given stride (methods D45); empty if the slide is smaller
    than a window.
    """
    return CandidateGrid(
        np.arange(0, width0 - side_px0 + 1, stride_px0, dtype=np.int64),
        np.arange(0, height0 - side_px0 + 1, stride_px0, dtype=np.int64),
        side_px0,
    )


def tile_sides_px0(patch_size: int, stride: int, scale: float) -> tuple[int, int]:
    """Side and stride of windows in level-0 pixels, where one patch pixel spans `scale` of them;
    each at least 1.
    """
    return max(1, round(patch_size * scale)), max(1, round(stride * scale))


def tumour_fractions(outlines: Annotations, grid: CandidateGrid) -> Fractions:
    """Share of level-0 pixels in tumour for every window of the grid (rows, columns), exact.

    The slide is cut into bands between the edges of rows of windows, so every pixel is drawn once,
    whatever side and stride are, and memory holds one band: at most a window's height by the width
    of the outlines.
    """
    if not grid.size:
        return np.zeros((len(grid.tops_px0), len(grid.lefts_px0)))
    edges = np.unique(np.concatenate([grid.tops_px0, grid.tops_px0 + grid.side_px0]))
    above = np.zeros((len(edges), len(grid.lefts_px0)), dtype=np.int64)
    for number in range(1, len(edges)):
        top, bottom = int(edges[number - 1]), int(edges[number])
        above[number] = above[number - 1] + _band(outlines, grid, top, bottom)
    first = np.searchsorted(edges, grid.tops_px0)
    last = np.searchsorted(edges, grid.tops_px0 + grid.side_px0)
    return np.asarray((above[last] - above[first]) / grid.side_px0**2, dtype=np.float64)


def _band(outlines: Annotations, grid: CandidateGrid, top_px0: int, bottom_px0: int) -> Integers:
    """Tumour pixels of a band of rows under each column of windows."""
    touching = [
        shape
        for shape in outlines.tumour
        if shape[:, 1].min() < bottom_px0 and shape[:, 1].max() > top_px0
    ]
    if not touching:
        return np.zeros(len(grid.lefts_px0), dtype=np.int64)
    end = int(grid.lefts_px0[-1]) + grid.side_px0
    left = min(end, max(0, int(min(shape[:, 0].min() for shape in touching)) - 1))
    right = max(left, min(end, int(max(shape[:, 0].max() for shape in touching)) + 2))
    drawn = rasterize_tumour(
        Annotations(touching, outlines.holes), left, top_px0, right - left, bottom_px0 - top_px0
    )
    before = np.concatenate([[0], np.cumsum(drawn.sum(axis=0, dtype=np.int64))])
    starts = np.clip(grid.lefts_px0, left, right) - left
    ends = np.clip(grid.lefts_px0 + grid.side_px0, left, right) - left
    return np.asarray(before[ends] - before[starts], dtype=np.int64)


@dataclass(frozen=True)
class PatchLimits:
    """How many patches of one split are wanted; 0 means no limit."""

    per_bin: int
    positives: int
    negatives: int


@dataclass(frozen=True)
class FractionRange:
    """Tumour share of a positive patch, both ends excluded (methods D54)."""

    low: float
    high: float

    def holds(self, shares: Fractions) -> npt.NDArray[np.bool_]:
        return (shares > self.low) & (shares < self.high)

    @property
    def bins(self) -> int:
        """Number of 5 %-bins that the range touches."""
        return int(np.ceil(self.high * BINS - 1e-9) - np.floor(self.low * BINS + 1e-9))


def choose_positives(shares: Fractions, limits: PatchLimits, key: Sequence[int | str]) -> Integers:
    """Indices of the chosen positives, ascending: at most `per_bin` in each 5 %-bin, then at most
    `positives`.

    Every draw is uniform and keyed by `key`, e.g. (seed, "patches", "train"); too few are all
    taken.
    """
    chosen = np.arange(len(shares))
    if limits.per_bin:
        bins = np.floor(shares * BINS + 1e-9).astype(np.int64)
        parts = [
            _draw(np.flatnonzero(bins == number), limits.per_bin, [*key, "bin", int(number)])
            for number in np.unique(bins)
        ]
        chosen = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *parts]))
    return _draw(chosen, limits.positives, [*key, "positive"])


def choose_negatives(count: int, limits: PatchLimits, key: Sequence[int | str]) -> Integers:
    """Indices of the chosen among `count` negatives, ascending."""
    return _draw(np.arange(count), limits.negatives, [*key, "negative"])


def positive_limit(limits: PatchLimits, tumour: FractionRange) -> int:
    """How many positives full bins would give; 0 if there is no limit. Table 1: 14 bins of 430, 50
    and 143.
    """
    binned = limits.per_bin * tumour.bins
    return (
        min(binned, limits.positives) if binned and limits.positives else binned or limits.positives
    )


def _draw(items: Integers, at_most: int, key: Sequence[int | str]) -> Integers:
    if not at_most or len(items) <= at_most:
        return items
    return np.sort(generator(*key).choice(items, at_most, replace=False))
