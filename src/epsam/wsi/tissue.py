"""Tissue of a slide: Otsu's threshold on saturation at about 16×."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from epsam.data.images import Mask
from epsam.wsi.reader import OverviewPlan, Slide, plan_overview, read_overview_strips

TISSUE_DOWNSAMPLE = 16.0
"""The published code's intention; docs/deviations.md, "Level of the tissue mask", says how it
missed it.
"""

MAX_BLACK = 20
"""Brightest channel of the black fill that some scanners put around the scan (this project; JPEG
blurs it to a few steps).
"""

MIN_SATURATION, MAX_SATURATION = 13, 51
"""Otsu's threshold stays within 5–20 % of full saturation (this project): on an empty slide it
would split the noise, and on one without background the tissue.
"""

MARGIN_PX = 2
"""Margin that stays around tissue where glass is cut away, px of the tissue mask (this project:
about 10 µm).
"""


@dataclass(frozen=True)
class TissueMask:
    """Tissue as bool (height, width), one pixel of which spans `downsample` level-0 pixels."""

    mask: Mask
    downsample: float

    def resample(self, top: int, shape: tuple[int, int], scale: float, left: int = 0) -> Mask:
        """Tissue as bool `shape` (height, width), from row `top` and column `left` on of an image
        one pixel of which spans `scale` level-0 pixels; each takes the tissue under its centre.
        """
        if not self.mask.size:
            return np.zeros(shape, dtype=bool)
        rows = self._under_centres(top, shape[0], scale, self.mask.shape[0])
        columns = self._under_centres(left, shape[1], scale, self.mask.shape[1])
        return self.mask[np.ix_(rows, columns)]

    def _under_centres(
        self, first: int, count: int, scale: float, limit: int
    ) -> npt.NDArray[np.int64]:
        """Mask row or column under the centre of each of `count` pixels of `scale`, from `first`
        on.
        """
        centres_px0 = (first + np.arange(count) + 0.5) * scale
        return np.minimum((centres_px0 / self.downsample).astype(np.int64), limit - 1)

    def close_gaps(self) -> "TissueMask":
        """The mask with the gaps inside its pieces filled, such as glands and vessels, and a small
        margin around them.
        """
        pieces = self.mask.astype(np.uint8)
        if self.mask.size:
            side = 2 * MARGIN_PX + 1
            disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
            pieces = np.asarray(cv2.dilate(pieces, disc), dtype=np.uint8)

        outer, _ = cv2.findContours(pieces, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        filled = cv2.drawContours(pieces, outer, -1, 1, cv2.FILLED)
        return TissueMask(filled.astype(bool), self.downsample)


def find_tissue(slide: Slide) -> TissueMask:
    """The slide's tissue; an empty mask if there is none. Memory: two bytes per pixel of the 16×
    overview.

    Raises SlideError if the pixels cannot be decoded.
    """
    plan = _plan_overview_near_16x(slide)
    saturation = np.zeros((plan.height, plan.width), dtype=np.uint8)
    brightness = np.zeros_like(saturation)
    for top, strip in read_overview_strips(slide, plan):
        hsv = cv2.cvtColor(strip, cv2.COLOR_RGB2HSV)
        saturation[top : top + len(strip)] = hsv[:, :, 1]
        brightness[top : top + len(strip)] = hsv[:, :, 2]
    return TissueMask(threshold_tissue(saturation, brightness), plan.downsample)


def _plan_overview_near_16x(slide: Slide) -> OverviewPlan:
    """The level nearest 16× as it is, or a finer one averaged down if none lies within a factor of
    two.
    """
    distances = [abs(math.log2(level.downsample / TISSUE_DOWNSAMPLE)) for level in slide.levels]
    nearest = int(np.argmin(distances))
    is_near = distances[nearest] <= 1.0
    return plan_overview(slide, TISSUE_DOWNSAMPLE, nearest if is_near else None)


def threshold_tissue(saturation: npt.NDArray[np.uint8], brightness: npt.NDArray[np.uint8]) -> Mask:
    """Tissue as bool (height, width): saturated beyond Otsu's threshold, and not black.

    Both arguments are (height, width); `brightness` is the brightest channel, V of HSV.
    """
    is_scanned = brightness > MAX_BLACK
    threshold = otsu(np.bincount(saturation[is_scanned], minlength=256))
    threshold = min(max(threshold, MIN_SATURATION), MAX_SATURATION)
    return is_scanned & (saturation > threshold)


def otsu(histogram: npt.NDArray[np.int64]) -> int:
    """The value t for which 0..t and t+1.. have the largest variance between them (Otsu 1979); 0 if
    none differ.
    """
    # Not scikit-image's: it sums in 32 bits, so that close thresholds of a large slide may change
    # places, and it ends in an error where there is one value only.
    values = np.arange(len(histogram))
    n_below = np.cumsum(histogram).astype(np.float64)
    n_above = n_below[-1] - n_below
    sum_below = np.cumsum(histogram * values).astype(np.float64)
    sum_above = sum_below[-1] - sum_below
    gap = sum_above / np.maximum(n_above, 1) - sum_below / np.maximum(n_below, 1)
    return int(np.argmax(n_below * n_above * gap**2))


def tissue_fractions(
    tissue: TissueMask,
    lefts_px0: npt.NDArray[np.int64],
    tops_px0: npt.NDArray[np.int64],
    side_px0: int,
) -> npt.NDArray[np.float64]:
    """Fraction of tissue (rows, columns) in the tiles of a grid; corners and side in level-0
    pixels.
    """
    # The sum over a rectangle is four look-ups in the integral image, whatever its size.
    integral = cv2.integral(tissue.mask.astype(np.uint8), sdepth=cv2.CV_32S)
    height, width = tissue.mask.shape
    left, right = _mask_spans(lefts_px0, side_px0, tissue.downsample, width)
    top, bottom = _mask_spans(tops_px0, side_px0, tissue.downsample, height)
    counts = (
        integral[np.ix_(bottom, right)]
        - integral[np.ix_(top, right)]
        - integral[np.ix_(bottom, left)]
        + integral[np.ix_(top, left)]
    )
    areas = np.outer(bottom - top, right - left)
    return np.asarray(counts / np.maximum(areas, 1), dtype=np.float64)


def _mask_spans(
    starts_px0: npt.NDArray[np.int64], side_px0: int, downsample: float, limit: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First and last+1 mask pixel of each tile along one axis, at least one pixel wide."""
    first = np.minimum(np.rint(starts_px0 / downsample).astype(np.int64), limit - 1)
    last = np.rint((starts_px0 + side_px0) / downsample).astype(np.int64)
    return first, np.clip(last, first + 1, limit)
