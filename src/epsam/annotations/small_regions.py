"""Specks: regions of a mask, and gaps in them, too small to mean anything, become what is around
them.
"""

from collections.abc import Sequence

import numpy as np

from epsam.annotations.asap_reader import Annotations, rasterize_tumour
from epsam.annotations.contours import Ring, signed_area
from epsam.data.images import Mask


class SmallRegions:
    """The rings of a mask that enclose less than `smallest_px2`, gaps included.

    What lies inside such a ring lies in specks altogether, so turning the inside of each of them
    over, whatever the order, leaves the mask that has the other rings only.
    """

    def __init__(self, rings: Sequence[Ring], smallest_px2: float) -> None:
        self._outlines = [
            ring.points_xy for ring in rings if abs(signed_area(ring.points_xy)) < smallest_px2
        ]
        corners = [
            np.concatenate([np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))])
            for points in self._outlines
        ]
        self._boxes = np.array(corners, dtype=np.int64).reshape(-1, 4)

    def remove_from(self, band: Mask, top: int) -> Mask:
        """The rows (rows, width) of the mask from row `top` on, without specks."""
        turned: Mask = band.copy()
        _, begins, _, ends = self._boxes.T
        for number in np.flatnonzero((begins < top + len(band)) & (ends > top)).tolist():
            left, first, right, last = self._boxes[number].tolist()
            first, last = max(first, top), min(last, top + len(band))
            inside = rasterize_tumour(
                Annotations([self._outlines[number]]), left, first, right - left, last - first
            )
            turned[first - top : last - top, left:right] ^= inside
        return turned
