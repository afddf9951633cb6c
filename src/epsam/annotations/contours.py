"""Exact contours of a mask that arrives band by band: memory grows with the length of the contours,
not with the mask.

How it works:

1. Steps (marching squares). Four neighbouring pixels span a square between their centres. Where
   some of them are tumour and some are not, a step of contour crosses the square, from the middle
   of one side to the middle of another, with tumour on its right hand (`_STEPS`). So a pixel is
   inside a contour exactly if its centre is, and pixels that touch at a corner only are apart.
2. Points. The middle of a side lies between a tumour pixel and another pixel; exactly one step ends
   there and exactly one begins. A point is stored as one integer, its key: the number of its place
   in reading order on the grid of half pixels. Rings never touch each other or themselves.
3. Links. A binary search for the key of each step's end among the keys of all starts tells which
   point follows which (`_LinkedPoints`). The links are a permutation of the points, and its cycles
   are the rings. Pointer doubling finds them: each pass doubles the distance that every point sees
   along its ring, so that NumPy needs log2(n) passes where a Python loop would take n steps.
4. Nesting. The contour next to the left of a ring's topmost pixel belongs to the ring around this
   one or to a sibling (`_find_parent`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from epsam.annotations.polygons import Polygon

Indices = npt.NDArray[np.int64]

TOLERANCE_PX = 0.35
"""How far a corner that is left out may lie from the contour (this project). Pixel centres lie at
least √2/4 = 0.354 away from it, so the simplified contour holds the same pixels.
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
"""Code of four neighbouring pixels (1 top left, 2 top right, 4 bottom left, 8 bottom right, summed
over those that are tumour) → the steps across their square: from and to the middle of which side,
as (x, y) in half pixels from the middle of the square.
"""


# A slide may have a million of them: slots take a third of the memory.
@dataclass(frozen=True, slots=True)
class Ring:
    """A closed contour: corners (n, 2) as (x, y) in the mask's pixels; pixel (row 0, column 0)
    covers 0..1.

    `parent` is the number of the ring around it, -1 for none: a hole lies in a region, a region
    perhaps in a hole.
    """

    points_xy: Polygon
    is_hole: bool
    parent: int


def rings_by_parent(rings: Sequence[Ring]) -> dict[int, list[Ring]]:
    """The rings that lie directly in another one, by its number."""
    by_parent: dict[int, list[Ring]] = {}
    for ring in rings:
        by_parent.setdefault(ring.parent, []).append(ring)
    return by_parent


class ContourTracer:
    """Collects the steps of the contours of a mask `width` px wide, from top to bottom."""

    def __init__(self, width: int) -> None:
        # More than x reaches, which runs from 0 to 2 · width: points of two rows never share a key.
        self._stride = 2 * width + 2
        self._last_row = np.zeros((1, width), np.uint8)
        self._n_rows = 0
        self._starts: list[Indices] = []
        self._ends: list[Indices] = []

    def add(self, band: npt.NDArray[np.bool_]) -> None:
        """Trace the next rows (rows, width) of the mask."""
        if band.any() or self._last_row.any():
            self._trace(np.concatenate([self._last_row, band.astype(np.uint8)]))
        self._last_row = band[-1:].astype(np.uint8)
        self._n_rows += len(band)

    def trace_rings(self) -> list[Ring]:
        """All rings, ordered by their topmost, then leftmost point; the mask ends with the last
        band.
        """
        if self._last_row.any():
            self._trace(np.concatenate([self._last_row, np.zeros_like(self._last_row)]))
        if not self._starts:
            return []
        points = _LinkedPoints.from_steps(
            np.concatenate(self._starts), np.concatenate(self._ends), self._stride
        )
        # The steps are as large as the points, and not needed any more.
        self._starts, self._ends = [], []
        return _build_rings(points)

    def _trace(self, rows: npt.NDArray[np.uint8]) -> None:
        """Collect the steps between each row and the next one; the first row is the last one of the
        band before.
        """
        # What lies left and right of the mask is not tumour.
        padded = np.pad(rows, ((0, 0), (1, 1)))
        codes = padded[:-1, :-1] | padded[:-1, 1:] << 1 | padded[1:, :-1] << 2 | padded[1:, 1:] << 3
        mixed = np.flatnonzero((codes > 0) & (codes < 15))
        mixed_codes = codes.ravel()[mixed]

        square_rows, square_columns = np.divmod(mixed, codes.shape[1])
        middles = 2 * (square_rows + self._n_rows) * self._stride + 2 * square_columns
        for code, steps in _STEPS.items():
            at_code = middles[mixed_codes == code]
            if not len(at_code):
                continue
            for (start_x, start_y), (end_x, end_y) in steps:
                self._starts.append(at_code + (start_y * self._stride + start_x))
                self._ends.append(at_code + (end_y * self._stride + end_x))


@dataclass(frozen=True)
class _LinkedPoints:
    """The points of all rings in reading order, each with a link to the next one of its ring.

    `keys` (n,), ascending: y · stride + x of each point, in half pixels. `next` (n,) and `first`
    (n,) hold indices of points: the next one along the ring, and the ring's first one in reading
    order, its topmost and then leftmost, by which a ring is identified.
    """

    keys: Indices
    next: Indices
    first: Indices
    stride: int

    @classmethod
    def from_steps(cls, starts: Indices, ends: Indices, stride: int) -> "_LinkedPoints":
        """Link the points; `starts` and `ends` (n,) are the keys of each step's two points."""
        order = np.argsort(starts)
        keys = starts[order]
        # Each point starts one step and ends another, so every end is among the keys.
        following = np.searchsorted(keys, ends[order])
        return cls(keys, following, _find_first_of_cycle(following), stride)

    def coordinates(self) -> Polygon:
        """The points (n, 2) as (x, y) in the mask's pixels."""
        y2, x2 = np.divmod(self.keys, self.stride)
        return np.stack([x2, y2], axis=1) / 2.0

    def split_into_rings(self) -> list[Indices]:
        """The points of each ring along its way, from its first one on; rings in the order of their
        first points.
        """
        along = _order_along_cycles(self.next, self.first)
        starts = np.flatnonzero(np.diff(self.first[along], prepend=-1))
        return np.split(along, starts[1:])

    def find_left_neighbours(self, points: Indices) -> Indices:
        """For each of the points (m,), which are the first ones of their rings: the nearest point
        to the left on the centre line of the pixels just below, -1 if there is none.
        """
        # The first point is the middle of its pixel's upper side. Half a pixel down and half a
        # pixel left lies the middle of the pixel's left side, on the ring itself.
        left_sides = self.keys[points] + self.stride - 1
        before = np.searchsorted(self.keys, left_sides) - 1
        is_same_row = self.keys[before] // self.stride == left_sides // self.stride
        return np.where((before >= 0) & is_same_row, before, -1)


def _build_rings(points: _LinkedPoints) -> list[Ring]:
    members = points.split_into_rings()
    points_xy = points.coordinates()
    firsts = np.array([ring[0] for ring in members])
    ring_of_point = np.searchsorted(firsts, points.first)
    left_points = points.find_left_neighbours(firsts)
    left_rings = np.where(left_points >= 0, ring_of_point[left_points], -1)

    rings: list[Ring] = []
    for indices, left_ring in zip(members, left_rings.tolist(), strict=True):
        contour = points_xy[indices]
        is_hole = signed_area(contour) < 0
        # Rings come in reading order, so the one to the left is there already.
        rings.append(Ring(_simplify(contour), is_hole, _find_parent(rings, left_ring, is_hole)))
    return rings


def _find_parent(rings: Sequence[Ring], left_ring: int, is_hole: bool) -> int:
    """Number of the ring around a new one, -1 for none, from the ring next to the left of it."""
    if left_ring < 0:
        return -1
    # Two regions, or two holes, side by side lie in the same ring. A region next to a hole's
    # contour lies in that hole, and a hole next to a region's contour in that region.
    is_sibling = rings[left_ring].is_hole == is_hole
    return rings[left_ring].parent if is_sibling else left_ring


def signed_area(points_xy: Polygon) -> float:
    """Area inside a ring, px²; negative if it runs the other way round, as holes do."""
    # Relative to the first corner, the two edges that meet there add nothing to the sum.
    x, y = (points_xy - points_xy[0]).T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)


def largest_diameter(points_xy: Polygon) -> float:
    """Largest distance between two corners of a ring, px."""
    # The two lie on the convex hull, which has far fewer corners; relative to the first corner,
    # float32 holds them exactly.
    hull = cv2.convexHull((points_xy - points_xy[0]).astype(np.float32))
    corners = hull.reshape(-1, 2).astype(np.float64)
    return max(float(np.hypot(*(corners - corner).T).max()) for corner in corners)


def _simplify(contour: Polygon) -> Polygon:
    """The ring without corners on straight lines, then without those within the tolerance."""
    onward = np.roll(contour, -1, axis=0) - contour
    bends: Polygon = contour[(onward != np.roll(onward, 1, axis=0)).any(axis=1)]
    # OpenCV takes float32, which is exact near the ring's own origin only.
    near = (bends - bends[0]).astype(np.float32).reshape(-1, 1, 2)
    corners = cv2.approxPolyDP(near, TOLERANCE_PX, True).reshape(-1, 2)
    if len(corners) < 3:
        return bends
    return np.asarray(corners.astype(np.float64) + bends[0])


def _find_first_of_cycle(following: Indices) -> Indices:
    """For each element of a permutation, the smallest one of its cycle."""
    # After k passes, `first` is the smallest of the next 2^k elements, and `jump` skips them.
    first = np.arange(len(following))
    jump = following
    for _ in range(len(following).bit_length()):
        first = np.minimum(first, first[jump])
        jump = jump[jump]
    return first


def _order_along_cycles(following: Indices, first: Indices) -> Indices:
    """The elements of a permutation cycle by cycle, each cycle from its first element on."""
    count = len(following)
    is_first = first == np.arange(count)

    # Steps from each element to its cycle's first one, where the walk stops: doubled as above.
    jump = np.where(is_first, np.arange(count), following)
    steps_to_first = np.where(is_first, 0, 1)
    for _ in range(count.bit_length()):
        steps_to_first = steps_to_first + steps_to_first[jump]
        jump = jump[jump]

    # The first element itself has the whole cycle before it.
    steps_to_first[is_first] = count
    return np.lexsort((-steps_to_first, first))
