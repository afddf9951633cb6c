"""One small picture a slide: tissue, outlines and the chosen windows, so that a wrong mask is seen
at a glance.
"""

import math

import cv2
import numpy as np

from epsam.annotations.asap_reader import Annotations
from epsam.data.images import Mask, Rgb
from epsam.extraction.sampling import Integers
from epsam.wsi.reader import Slide, plan_overview, read_overview_strips

SIDE = 1024  # ours
TISSUE, TUMOUR, HOLE, POSITIVE, NEGATIVE = (
    (0, 160, 60),
    (220, 30, 30),
    (30, 30, 220),
    (255, 140, 0),
    (60, 60, 60),
)


def read_overview(slide: Slide) -> Rgb:
    """The whole slide as RGB, 1024 to 2047 px on the longer side (smaller slides as they are)."""
    # A power of two meets the levels of a pyramid, and the rows of tiles where there is only one
    # level.
    plan = plan_overview(
        slide, 2.0 ** max(0, math.floor(math.log2(max(slide.width0, slide.height0) / SIDE)))
    )
    image = np.empty((plan.height, plan.width, 3), dtype=np.uint8)
    for top, strip in read_overview_strips(slide, plan):
        image[top : top + len(strip)] = strip
    return image


def draw_thumbnail(image: Rgb, tissue: Mask, outlines: Annotations, width0: int) -> Rgb:
    """The overview with the borders of tissue (green), tumour (red) and holes (blue); `tissue`
    covers the same area.
    """
    drawn = np.ascontiguousarray(image)
    height, width = drawn.shape[:2]
    small = cv2.resize(tissue.astype(np.uint8), (width, height), interpolation=cv2.INTER_AREA)
    borders = cv2.findContours(small, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
    cv2.drawContours(drawn, borders, -1, TISSUE, 1)
    for shapes, colour in ((outlines.tumour, TUMOUR), (outlines.holes, HOLE)):
        points = [np.rint(shape * (width / width0)).astype(np.int32) for shape in shapes]
        cv2.polylines(drawn, points, isClosed=True, color=colour, thickness=1)
    return drawn


def draw_windows(
    image: Rgb,
    lefts_px0: Integers,
    tops_px0: Integers,
    side_px0: int,
    scale: float,
    colour: tuple[int, int, int],
) -> Rgb:
    """The picture with a square around each window; corners and side in level-0 pixels, times
    `scale` the picture's.
    """
    drawn = np.ascontiguousarray(image)
    side = max(1, round(side_px0 * scale) - 1)
    for left, top in zip(lefts_px0, tops_px0, strict=True):
        corner = (round(float(left) * scale), round(float(top) * scale))
        cv2.rectangle(drawn, corner, (corner[0] + side, corner[1] + side), colour, 1)
    return drawn
