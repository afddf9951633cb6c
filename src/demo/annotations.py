"""From a tumour mask to the polygons of an annotator, in the vocabulary of CAMELYON16."""

import cv2
import numpy as np

from epsam.annotations.asap_writer import EXCLUSION, TUMOUR, AsapAnnotation
from epsam.data.images import Mask


def coarse_annotations(tumour: Mask, coarseness_px: float = 2.5) -> list[AsapAnnotation]:
    """Polygons of the mask's pieces, then of the gaps in them; none for an empty mask.

    A corner is left out where the line then moves by less than `coarseness_px`, as in a hand-drawn
    polygon.
    """
    contours, hierarchy = cv2.findContours(
        tumour.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    pieces = []
    gaps = []
    for number, contour in enumerate(contours):
        corners = cv2.approxPolyDP(contour, coarseness_px, True).reshape(-1, 2)
        if len(corners) < 3:
            continue
        # The last column of OpenCV's hierarchy is the contour around this one, -1 for none.
        is_gap = hierarchy.reshape(-1, 4)[number, 3] >= 0
        points = corners.astype(np.int32)
        if is_gap:
            gaps.append(AsapAnnotation(EXCLUSION, points))
        else:
            pieces.append(AsapAnnotation(TUMOUR, points))
    return pieces + gaps
