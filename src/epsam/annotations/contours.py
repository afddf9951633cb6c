"""Exact outlines of a mask that is seen band by band: memory grows with the length of the outlines,
not with the mask.

Outlines run between the centres of tumour pixels and of others (marching squares), so a pixel is
inside exactly if its centre is; pixels that touch at a corner only are apart. Rings never touch
each other or themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from epsam.annotations.asap_reader import Polygon

Keys = npt.NDArray[np.int64]

TOLERANCE_PX = 0.35
"""Ours: how far a left-out corner may lie from the outline. Pixel centres lie at least √2/4 = 0.354
away from it, so the simplified outline holds the same pixels.
"""

_TOP, _BOTTOM, _LEFT, _RIGHT = (0, -1), (0, 1), (-1, 0), (1, 0)
_Step = tuple[tuple[int, int], tuple[int, int]]
_STEPS: dict[int, list[_Step]] = {
    1: [(_TOP, _LEFT)],
    2: [(_RIGHT, _TOP)],
    4: [(_LEFT, _BOTTOM)],
    8: [(_BOTTOM, _RIGHT)],
    3: [(_RIGHT, _LEFT)],
    12: [(_LEFT, _RIGHT)],
    5: [(_TOP, _BOTTOM)],
    10: [(_BOTTOM, _TOP)],
    14: [(_LEFT, _TOP)],
    13: [(_TOP, _RIGHT)],
    11: [(_BOTTOM, _LEFT)],
    7: [(_RIGHT, _BOTTOM)],
    9: [(_TOP, _LEFT), (_BOTTOM, _RIGHT)],
    6: [(_RIGHT, _TOP), (_LEFT, _BOTTOM)],
}
"""Four neighbouring pixels as a number (1 top left, 2 top right, 4 bottom left, 8 bottom right) →
the pieces of outline between them, tumour on the right hand: from and to the middle of which side,
as (x, y) in half pixels.
"""


@dataclass(frozen=True)
class Ring:
    """A closed outline: corners (n, 2) as (x, y) in the mask's pixels; pixel (row 0, column 0)
    covers 0..1.

    `parent` is the number of the ring around it, -1 for none: a hole lies in a region, a region
    perhaps in a hole.
    """

    points_xy: Polygon
    is_hole: bool
    parent: int


def rings_by_parent(rings: Sequence[Ring]) -> dict[int, list[Ring]]:
    """The rings that lie directly in another one, by its number."""
    found: dict[int, list[Ring]] = {}
    for ring in rings:
        found.setdefault(ring.parent, []).append(ring)
    return found


class ContourTracer:
    """Collects the pieces of outline of a mask `width` px wide, from top to bottom."""

    def __init__(self, width: int) -> None:
        self._stride = 2 * width + 2
        self._above = np.zeros((1, width), np.uint8)
        self._row = 0
        self._pieces: list[tuple[Keys, Keys]] = []

    def add(self, band: npt.NDArray[np.bool_]) -> None:
        """The next rows (rows, width) of the mask."""
        if band.any() or self._above.any():
            self._collect(np.concatenate([self._above, band.astype(np.uint8)]))
        self._above = band[-1:].astype(np.uint8)
        self._row += len(band)

    def rings(self) -> list[Ring]:
        """All rings, ordered by their topmost, then leftmost point; the mask ends with the last
        band.
        """
        if self._above.any():
            self._collect(np.concatenate([self._above, np.zeros_like(self._above)]))
        if not self._pieces:
            return []
        starts, ends = (np.concatenate(part) for part in zip(*self._pieces, strict=True))
        self._pieces = []
        order = np.argsort(starts)
        starts = starts[order]
        following = np.searchsorted(starts, ends[order])
        first = _smallest_of_cycle(following)
        sequence = _along_cycles(following, first)
        return self._rings(starts, first, sequence)

    def _collect(self, rows: npt.NDArray[np.uint8]) -> None:
        """The pieces between each row and the next one; the first row is the last of the band
        before.
        """
        padded = np.pad(rows, ((0, 0), (1, 1)))
        codes = padded[:-1, :-1] | padded[:-1, 1:] << 1 | padded[1:, :-1] << 2 | padded[1:, 1:] << 3
        mixed = np.flatnonzero((codes > 0) & (codes < 15))
        lines, columns = np.divmod(mixed, codes.shape[1])
        middles = 2 * (lines + self._row) * self._stride + 2 * columns
        found = codes.ravel()[mixed]
        for code, steps in _STEPS.items():
            here = middles[found == code]
            for source, target in steps if len(here) else ():
                self._pieces.append((here + self._key(source), here + self._key(target)))

    def _key(self, step: tuple[int, int]) -> int:
        return step[1] * self._stride + step[0]

    def _rings(self, starts: Keys, first: Keys, sequence: Keys) -> list[Ring]:
        own = first[sequence]
        begins = np.flatnonzero(np.diff(own, prepend=-1))
        y2, x2 = np.divmod(starts[sequence], self._stride)
        outlines = [
            np.stack([x, y], axis=1) / 2.0
            for x, y in zip(np.split(x2, begins[1:]), np.split(y2, begins[1:]), strict=True)
        ]
        holes = [signed_area(points) < 0 for points in outlines]
        number = np.zeros(len(starts), np.int64)
        number[own[begins]] = np.arange(len(begins))
        neighbours = self._left_neighbours(starts, number[first], own[begins])
        rings: list[Ring] = []
        for points, is_hole, beside in zip(outlines, holes, neighbours, strict=True):
            # What lies to the left is the ring around this one, or a sibling.
            around = beside if beside < 0 or holes[beside] != is_hole else rings[beside].parent
            rings.append(Ring(_simplified(points), is_hole, around))
        return rings

    def _left_neighbours(self, starts: Keys, ring_of: Keys, tops: Keys) -> list[int]:
        """For the top left pixel of each ring, the ring crossed next to the left in its row; -1 for
        none.
        """
        sides = starts[tops] + self._stride - 1
        before = np.searchsorted(starts, sides) - 1
        same_row = (before >= 0) & (starts[before] // self._stride == sides // self._stride)
        return [int(ring) for ring in np.where(same_row, ring_of[before], -1)]


def signed_area(points_xy: Polygon) -> float:
    """Area inside a ring, px²; negative if it runs the other way round, as holes do."""
    # Seen from the first corner, the edges that meet there enclose nothing.
    x, y = (points_xy - points_xy[0]).T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)


def largest_diameter(points_xy: Polygon) -> float:
    """Largest distance between two corners of a ring."""
    hull = (
        cv2.convexHull((points_xy - points_xy[0]).astype(np.float32))
        .reshape(-1, 2)
        .astype(np.float64)
    )
    return max(float(np.hypot(*(hull - corner).T).max()) for corner in hull)


def _simplified(points: Polygon) -> Polygon:
    """The ring without corners on straight lines, then without those within the tolerance."""
    onward = np.roll(points, -1, axis=0) - points
    bends = points[(onward != np.roll(onward, 1, axis=0)).any(axis=1)]
    near = (bends - bends[0]).astype(np.float32).reshape(-1, 1, 2)
    kept = cv2.approxPolyDP(near, TOLERANCE_PX, True).reshape(-1, 2)
    return np.asarray(kept.astype(np.float64) + bends[0] if len(kept) >= 3 else bends)


def _smallest_of_cycle(following: Keys) -> Keys:
    """For each element of a permutation, the smallest one of its cycle."""
    smallest, jump = np.arange(len(following)), following
    for _ in range(len(following).bit_length()):
        smallest = np.minimum(smallest, smallest[jump])
        jump = jump[jump]
    return smallest


def _along_cycles(following: Keys, first: Keys) -> Keys:
    """The elements cycle by cycle, each from its first one onwards."""
    is_first = first == np.arange(len(first))
    jump = np.where(is_first, np.arange(len(first)), following)
    left_over = np.where(is_first, 0, 1)
    for _ in range(len(first).bit_length()):
        left_over = left_over + left_over[jump]
        jump = jump[jump]
    left_over[is_first] = len(first)
    return np.lexsort((-left_over, first))
