"""A thumbnail of each slide with tissue and annotations, to spot wrong masks."""

import math

import cv2
import numpy as np

from epsam.annotations.polygons import Annotations
from epsam.data.images import Mask, Rgb
from epsam.wsi.reader import Slide, plan_overview, read_overview_strips

SIDE = 1024
"""This project: least length of an overview's longer side, px."""

Colour = tuple[int, int, int]
TISSUE: Colour = (0, 160, 60)
TUMOUR: Colour = (220, 30, 30)
HOLE: Colour = (30, 30, 220)


def read_overview(slide: Slide) -> Rgb:
    """The whole slide as RGB, 1024 to 2047 px on the longer side (smaller slides as they are)."""
    # A power of two meets the levels of a pyramid, and the rows of tiles where there is only one
    # level.
    exponent = max(0, math.floor(math.log2(max(slide.width0, slide.height0) / SIDE)))
    plan = plan_overview(slide, 2.0**exponent)
    image = np.empty((plan.height, plan.width, 3), dtype=np.uint8)
    for top, strip in read_overview_strips(slide, plan):
        image[top : top + len(strip)] = strip
    return image


def draw_thumbnail(image: Rgb, tissue: Mask, annotations: Annotations, width0: int) -> Rgb:
    """The overview with the borders of tissue (green), tumour (red) and holes (blue).

    `tissue` covers the same area at any scale; `width0` is the slide's width in level-0 pixels.
    """
    thumbnail = np.ascontiguousarray(image)
    height, width = thumbnail.shape[:2]
    # Averaged: a pixel of the thumbnail is tissue if most of its area is.
    resized = cv2.resize(tissue.astype(np.uint8), (width, height), interpolation=cv2.INTER_AREA)
    borders = cv2.findContours(resized, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
    cv2.drawContours(thumbnail, borders, -1, TISSUE, 1)

    scale = width / width0
    for polygons, colour in ((annotations.tumour, TUMOUR), (annotations.holes, HOLE)):
        points = [np.rint(polygon * scale).astype(np.int32) for polygon in polygons]
        cv2.polylines(thumbnail, points, isClosed=True, color=colour, thickness=1)
    return thumbnail
