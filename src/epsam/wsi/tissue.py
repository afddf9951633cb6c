"""Where a slide shows tissue: Otsu's threshold on saturation at about 16×."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from epsam.data.images import Mask
from epsam.wsi.reader import OverviewPlan, Slide, plan_overview, read_overview_strips

TISSUE_DOWNSAMPLE = 16.0
"""The published code's scale (methods D44 tells how it missed it)."""

BLACK = 20
"""Brightest channel of the black fill that some scanners put around the scan (ours; JPEG blurs it
to a few steps).
"""

LEAST_SATURATION, MOST_SATURATION = 13, 51
"""Otsu's threshold is kept in 5–20 % of full saturation (ours): on an empty slide it would split
the noise, and on one without background the tissue.
"""


MARGIN_PX = 2
"""What is filled up and left around tissue where glass is cut away, px of the tissue mask (ours:
about 10 µm).
"""


@dataclass(frozen=True)
class TissueMask:
    """Tissue as bool (height, width), one pixel of which spans `downsample` level-0 pixels."""

    mask: Mask
    downsample: float

    def resample(self, top: int, shape: tuple[int, int], scale: float) -> Mask:
        """Tissue as bool (height, width) of rows from `top` on, of an image one pixel of which
        spans `scale` level-0 pixels; each takes what lies under its centre.
        """
        if not self.mask.size:
            return np.zeros(shape, dtype=bool)
        rows, columns = (
            np.minimum(
                ((first + np.arange(count) + 0.5) * scale / self.downsample).astype(np.int64),
                last - 1,
            )
            for first, count, last in zip((top, 0), shape, self.mask.shape, strict=True)
        )
        return self.mask[np.ix_(rows, columns)]

    def close_gaps(self) -> "TissueMask":
        """The pieces of tissue as a whole: with their gaps, such as glands and vessels, and a small
        margin.
        """
        around = cv2.getStructuringElement(
            cv2.MORPH_ELLIPSE, (2 * MARGIN_PX + 1, 2 * MARGIN_PX + 1)
        )
        wide = (
            cv2.dilate(self.mask.astype(np.uint8), around)
            if self.mask.size
            else self.mask.astype(np.uint8)
        )
        pieces, _ = cv2.findContours(wide, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        return TissueMask(
            cv2.drawContours(wide, pieces, -1, 1, cv2.FILLED).astype(bool), self.downsample
        )


def find_tissue(slide: Slide) -> TissueMask:
    """The slide's tissue; an empty mask if there is none. Memory: two bytes a pixel of the 16×
    overview.

    Raises SlideError if the pixels cannot be decoded.
    """
    plan = _plan(slide)
    saturation = np.zeros((plan.height, plan.width), dtype=np.uint8)
    brightness = np.zeros_like(saturation)
    for top, strip in read_overview_strips(slide, plan):
        hsv = cv2.cvtColor(strip, cv2.COLOR_RGB2HSV)
        saturation[top : top + len(strip)], brightness[top : top + len(strip)] = (
            hsv[:, :, 1],
            hsv[:, :, 2],
        )
    return TissueMask(threshold_tissue(saturation, brightness), plan.downsample)


def _plan(slide: Slide) -> OverviewPlan:
    """The level nearest 16× as it is, or a finer one averaged down if none lies within a factor of
    two.
    """
    distances = [abs(math.log2(level.downsample / TISSUE_DOWNSAMPLE)) for level in slide.levels]
    nearest = int(np.argmin(distances))
    return plan_overview(slide, TISSUE_DOWNSAMPLE, nearest if distances[nearest] <= 1.0 else None)


def threshold_tissue(saturation: npt.NDArray[np.uint8], brightness: npt.NDArray[np.uint8]) -> Mask:
    """Tissue of an image given as saturation and brightest channel: saturated beyond Otsu's
    threshold, not black.
    """
    lit = brightness > BLACK
    threshold = otsu(np.bincount(saturation[lit], minlength=256))
    return lit & (saturation > min(max(threshold, LEAST_SATURATION), MOST_SATURATION))


def otsu(histogram: npt.NDArray[np.int64]) -> int:
    """The value t for which 0..t and t+1.. differ most in mean, weighted by size (Otsu 1979); 0 if
    none do.
    """
    values = np.arange(len(histogram))
    below = np.cumsum(histogram).astype(np.float64)
    above = below[-1] - below
    total_below = np.cumsum(histogram * values).astype(np.float64)
    total_above = total_below[-1] - total_below
    gap = total_above / np.maximum(above, 1) - total_below / np.maximum(below, 1)
    return int(np.argmax(below * above * gap**2))


def tissue_fractions(
    tissue: TissueMask,
    lefts_px0: npt.NDArray[np.int64],
    tops_px0: npt.NDArray[np.int64],
    side_px0: int,
) -> npt.NDArray[np.float64]:
    """Share of tissue in the windows of a grid (rows, columns), corners and side in level-0
    pixels.
    """
    integral = cv2.integral(tissue.mask.astype(np.uint8), sdepth=cv2.CV_32S)
    height, width = tissue.mask.shape
    left, right = _spans(lefts_px0, side_px0, tissue.downsample, width)
    top, bottom = _spans(tops_px0, side_px0, tissue.downsample, height)
    counts = (
        integral[np.ix_(bottom, right)]
        - integral[np.ix_(top, right)]
        - integral[np.ix_(bottom, left)]
        + integral[np.ix_(top, left)]
    )
    areas = np.outer(bottom - top, right - left)
    return np.asarray(counts / np.maximum(areas, 1), dtype=np.float64)


def _spans(
    starts_px0: npt.NDArray[np.int64], side_px0: int, downsample: float, limit: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First and last+1 mask pixel of each window, at least one pixel wide."""
    first = np.minimum(np.rint(starts_px0 / downsample).astype(np.int64), limit - 1)
    last = np.rint((starts_px0 + side_px0) / downsample).astype(np.int64)
    return first, np.clip(last, first + 1, limit)
