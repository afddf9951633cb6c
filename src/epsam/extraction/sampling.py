"""The grid of candidate tiles, the tumour fraction of each, and the seeded choice among them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from epsam.annotations.polygons import Annotations, rasterize_tumour
from epsam.config.common import SPLITS
from epsam.config.patches import PatchOptions
from epsam.core.seeding import generator

Integers = npt.NDArray[np.int64]
Fractions = npt.NDArray[np.float64]

N_BINS = 20
"""Bins of tumour fraction from 0 to 1, 5 % each as in the published code (docs/deviations.md,
"Tumour-fraction bins").
"""

_ROUNDING = 1e-9
"""This project: a fraction at the edge of a bin falls into the bin above, whatever its last bit."""


@dataclass(frozen=True)
class CandidateGrid:
    """Square tiles inside a slide, one for each pair of a left and a top edge, level-0 pixels."""

    lefts_px0: Integers
    tops_px0: Integers
    side_px0: int

    @property
    def n_tiles(self) -> int:
        return len(self.lefts_px0) * len(self.tops_px0)


def make_candidate_grid(width0: int, height0: int, side_px0: int, stride_px0: int) -> CandidateGrid:
    """The full grid of tiles at a stride; empty if the slide is smaller than a tile.

    All arguments in level-0 pixels. Source: docs/deviations.md, "Tile grid".
    """
    return CandidateGrid(
        np.arange(0, width0 - side_px0 + 1, stride_px0, dtype=np.int64),
        np.arange(0, height0 - side_px0 + 1, stride_px0, dtype=np.int64),
        side_px0,
    )


def tile_side_and_stride_px0(patch_size: int, stride: int, scale: float) -> tuple[int, int]:
    """Side and stride of tiles in level-0 pixels, each at least 1.

    `patch_size` and `stride` are in patch pixels, each of which spans `scale` level-0 pixels.
    """
    return max(1, round(patch_size * scale)), max(1, round(stride * scale))


def tumour_fractions(annotations: Annotations, grid: CandidateGrid) -> Fractions:
    """Exact fraction of level-0 pixels in tumour, (rows, columns) of the grid.

    The slide is cut into bands between the edges of tile rows, so each pixel is rasterized once,
    whatever side and stride are. Memory holds one band: at most the height of a tile by the width
    of the annotations. Source: docs/deviations.md, "Tumour fraction of a patch".
    """
    if not grid.n_tiles:
        return np.zeros((len(grid.tops_px0), len(grid.lefts_px0)))
    edges = np.unique(np.concatenate([grid.tops_px0, grid.tops_px0 + grid.side_px0]))

    # Tumour pixels above each edge, for each column of tiles; a tile is the difference of two.
    above = np.zeros((len(edges), len(grid.lefts_px0)), dtype=np.int64)
    for number in range(1, len(edges)):
        top, bottom = int(edges[number - 1]), int(edges[number])
        above[number] = above[number - 1] + _count_in_band(annotations, grid, top, bottom)

    top_edge = np.searchsorted(edges, grid.tops_px0)
    bottom_edge = np.searchsorted(edges, grid.tops_px0 + grid.side_px0)
    counts = above[bottom_edge] - above[top_edge]
    return np.asarray(counts / grid.side_px0**2, dtype=np.float64)


def _count_in_band(
    annotations: Annotations, grid: CandidateGrid, top_px0: int, bottom_px0: int
) -> Integers:
    """Tumour pixels of a band of rows under each column of tiles."""
    touching = []
    for polygon in annotations.tumour:
        if polygon[:, 1].min() < bottom_px0 and polygon[:, 1].max() > top_px0:
            touching.append(polygon)
    if not touching:
        return np.zeros(len(grid.lefts_px0), dtype=np.int64)

    # Rasterize only the columns that the polygons span; -1 and +2 leave room for rounding.
    grid_right = int(grid.lefts_px0[-1]) + grid.side_px0
    polygons_left = int(min(polygon[:, 0].min() for polygon in touching)) - 1
    polygons_right = int(max(polygon[:, 0].max() for polygon in touching)) + 2
    left = min(grid_right, max(0, polygons_left))
    right = max(left, min(grid_right, polygons_right))
    band = rasterize_tumour(
        Annotations(touching, annotations.holes), left, top_px0, right - left, bottom_px0 - top_px0
    )

    tumour_left_of = np.concatenate([[0], np.cumsum(band.sum(axis=0, dtype=np.int64))])
    starts = np.clip(grid.lefts_px0, left, right) - left
    ends = np.clip(grid.lefts_px0 + grid.side_px0, left, right) - left
    return np.asarray(tumour_left_of[ends] - tumour_left_of[starts], dtype=np.int64)


@dataclass(frozen=True)
class PatchLimits:
    """Most patches of one split: positives in a 5 %-bin, all positives, negatives; 0: no limit."""

    per_bin: int
    positives: int
    negatives: int


def limits_per_split(options: PatchOptions) -> dict[str, PatchLimits]:
    """Split → limits, from the options' values for train, val and test."""
    limits = {}
    for number, split in enumerate(SPLITS):
        limits[split] = PatchLimits(
            options.max_per_bin[number], options.max_positive[number], options.max_negative[number]
        )
    return limits


@dataclass(frozen=True)
class FractionRange:
    """Tumour fraction of a positive, both ends excluded (docs/deviations.md, "Tumour-fraction
    bins").
    """

    low: float
    high: float

    def contains(self, fractions: Fractions) -> npt.NDArray[np.bool_]:
        return (fractions > self.low) & (fractions < self.high)

    @property
    def n_bins(self) -> int:
        """Number of 5 %-bins that the range touches."""
        first = np.floor(self.low * N_BINS + _ROUNDING)
        return int(np.ceil(self.high * N_BINS - _ROUNDING) - first)


def choose_positives(
    fractions: Fractions, limits: PatchLimits, key: Sequence[int | str]
) -> Integers:
    """Indices of the chosen positives, ascending: at most `per_bin` in each 5 %-bin, then at most
    `positives`.

    `fractions` (N,): tumour fraction of each positive. Sampling is uniform and keyed by `key`, e.g.
    (seed, "patches", "train"); where fewer exist than the limit, all are taken.
    """
    chosen = np.arange(len(fractions))
    # As many for each bin of tumour fraction: the published code, and Table 1 of the paper.
    if limits.per_bin:
        bins = np.floor(fractions * N_BINS + _ROUNDING).astype(np.int64)
        per_bin = [np.empty(0, dtype=np.int64)]
        for number in np.unique(bins):
            in_bin = np.flatnonzero(bins == number)
            per_bin.append(_sample(in_bin, limits.per_bin, [*key, "bin", int(number)]))
        chosen = np.sort(np.concatenate(per_bin))
    return _sample(chosen, limits.positives, [*key, "positive"])


def choose_negatives(count: int, limits: PatchLimits, key: Sequence[int | str]) -> Integers:
    """Indices of the chosen among `count` negatives, ascending; keyed as in `choose_positives`."""
    return _sample(np.arange(count), limits.negatives, [*key, "negative"])


def positive_limit(limits: PatchLimits, positive_range: FractionRange) -> int:
    """How many positives full bins would give; 0 if there is no limit.

    CAMELYON16 in Table 1 of the paper: 14 bins of 430, 50 and 143.
    """
    in_full_bins = limits.per_bin * positive_range.n_bins
    if in_full_bins and limits.positives:
        return min(in_full_bins, limits.positives)
    return in_full_bins or limits.positives


def _sample(items: Integers, limit: int, key: Sequence[int | str]) -> Integers:
    """At most `limit` of the items (0: all), without replacement and in their order."""
    if not limit or len(items) <= limit:
        return items
    return np.sort(generator(*key).choice(items, limit, replace=False))
