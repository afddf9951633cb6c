"""The region of the model at a place: what a person accepts or rejects by a click."""

import cv2
import numpy as np

from epsam.annotations.contours import ContourTracer, rings_by_parent
from epsam.annotations.geojson_reader import join_rings
from epsam.annotations.polygons import Polygon
from epsam.data.images import Mask
from epsam.view.outlines import Rings


def region_of_mask(mask: Mask, x: float, y: float) -> Polygon | None:
    """The region of a mask that holds the pixel at (x, y), its holes left out; None outside of all
    regions.
    """
    height, width = mask.shape
    column, row = int(x), int(y)
    if not (0 <= column < width and 0 <= row < height and mask[row, column]):
        return None
    # As contours see it: pixels that touch at a corner only are apart.
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    tracer = ContourTracer(width)
    tracer.add(np.asarray(labels == labels[row, column]))
    rings = tracer.trace_rings()
    inner = rings_by_parent(rings)
    (outer,) = inner[-1]
    holes = [ring.points_xy for ring in inner.get(rings.index(outer), [])]
    return join_rings([outer.points_xy.tolist(), *(hole.tolist() for hole in holes)])


def region_of_rings(rings: Rings, x: float, y: float) -> Polygon | None:
    """The region of contours that holds (x, y), its holes left out; None outside of all regions."""
    left, top, right, bottom = rings.boxes().T
    is_near = (left <= x) & (x <= right) & (top <= y) & (y <= bottom)
    around = [ring for ring in _split(rings.select(is_near)) if _is_inside(ring, x, y)]
    # A region in a hole in a region lies in three rings; in two, the place is in the hole.
    if len(around) % 2 == 0:
        return None
    outer = min(around, key=_area)
    low, high = outer.min(axis=0), outer.max(axis=0)
    is_in_box = (left >= low[0]) & (top >= low[1]) & (right <= high[0]) & (bottom <= high[1])
    inner = []
    for ring in _split(rings.select(is_in_box)):
        if not np.array_equal(ring, outer) and _is_inside(outer, *ring[0]):
            inner.append(ring)
    holes = []
    for ring in inner:
        # A ring in a hole is another region.
        others = [other for other in inner if other is not ring]
        if not any(_is_inside(other, *ring[0]) for other in others):
            holes.append(ring)
    return join_rings([outer.tolist(), *(hole.tolist() for hole in holes)])


def _split(rings: Rings) -> list[Polygon]:
    points = rings.points_xy.astype(np.float64)
    return np.split(points, rings.starts[1:]) if len(rings.starts) else []


def _is_inside(ring: Polygon, x: float, y: float) -> bool:
    """Whether a place lies inside of a ring (even-odd rule)."""
    x1, y1 = ring.T
    x2, y2 = np.roll(ring, -1, axis=0).T
    crosses = (y1 > y) != (y2 > y)
    rise = np.where(crosses, y2 - y1, 1)
    is_right = x1 + (y - y1) * (x2 - x1) / rise > x
    return bool((crosses & is_right).sum() % 2)


def _area(ring: Polygon) -> float:
    x, y = ring.T
    return float(abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2)
