"""Small regions of a mask, and small gaps in them, become what is around them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from epsam.annotations.contours import Ring, signed_area
from epsam.annotations.polygons import Annotations, Polygon, rasterize_tumour
from epsam.data.images import Mask


@dataclass(frozen=True)
class _SmallRing:
    """A ring, and its bounding box in whole pixels of the mask; right and bottom are outside."""

    points_xy: Polygon
    left: int
    top: int
    right: int
    bottom: int


class SmallRegions:
    """The rings of a mask that enclose less than `min_area_px2`, gaps included.

    What lies inside such a ring is small altogether. So inverting the inside of each small ring,
    whatever the order, leaves the mask that has the other rings only.
    """

    def __init__(self, rings: Sequence[Ring], min_area_px2: float) -> None:
        self._rings = []
        for ring in rings:
            points = ring.points_xy
            if abs(signed_area(points)) >= min_area_px2:
                continue
            left, top = np.floor(points.min(axis=0)).astype(np.int64).tolist()
            right, bottom = np.ceil(points.max(axis=0)).astype(np.int64).tolist()
            self._rings.append(_SmallRing(points, left, top, right, bottom))
        self._tops = np.array([ring.top for ring in self._rings], dtype=np.int64)
        self._bottoms = np.array([ring.bottom for ring in self._rings], dtype=np.int64)

    def remove_from(self, band: Mask, top: int) -> Mask:
        """The band, rows (rows, width) of the mask from row `top` on, without small regions and
        gaps.
        """
        cleaned: Mask = band.copy()
        bottom = top + len(band)
        for number in np.flatnonzero((self._tops < bottom) & (self._bottoms > top)).tolist():
            ring = self._rings[number]
            first, last = max(ring.top, top), min(ring.bottom, bottom)
            inside = rasterize_tumour(
                Annotations([ring.points_xy]),
                ring.left,
                first,
                ring.right - ring.left,
                last - first,
            )
            cleaned[first - top : last - top, ring.left : ring.right] ^= inside
        return cleaned
