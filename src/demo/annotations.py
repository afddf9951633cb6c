"""From a mask to the outlines of an annotator, in the vocabulary of CAMELYON16."""

import cv2
import numpy as np

from epsam.annotations.asap_writer import EXCLUSION, TUMOUR, AsapAnnotation
from epsam.data.images import Mask


def coarse_annotations(tumour: Mask, coarseness_px: float = 2.5) -> list[AsapAnnotation]:
    """Outlines of the mask's pieces and of the gaps in them, tumour first; an empty mask has none.

    A corner is left out where the line then moves by less than `coarseness_px`, as a hand-drawn
    outline does.
    """
    contours, hierarchy = cv2.findContours(
        tumour.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    drawn = []
    for number, contour in enumerate(contours):
        corners = cv2.approxPolyDP(contour, coarseness_px, True).reshape(-1, 2)
        is_gap = hierarchy.reshape(-1, 4)[number, 3] >= 0
        if len(corners) >= 3:
            drawn.append(AsapAnnotation(EXCLUSION if is_gap else TUMOUR, corners.astype(np.int32)))
    return sorted(drawn, key=lambda outline: outline.group == EXCLUSION)
