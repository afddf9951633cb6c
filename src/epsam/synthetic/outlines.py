"""From a mask to the outlines of an annotator, in the vocabulary and the file format of CAMELYON16 (ASAP XML)."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from epsam.data.images import Mask

TUMOUR = "Tumor"
GAP = "Exclusion"


@dataclass(frozen=True)
class DrawnOutline:
    """A closed outline: its group and its corners (n, 2) as (x, y), level-0 px."""

    group: str
    points_xy: npt.NDArray[np.int32]


def outlines_of(tumour: Mask, coarseness_px: float = 2.5) -> list[DrawnOutline]:
    """Outlines of the mask's pieces and of the gaps in them, tumour first; an empty mask has none.

    A corner is left out where the line then moves by less than `coarseness_px`, as a hand-drawn outline does.
    """
    contours, hierarchy = cv2.findContours(tumour.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    drawn = []
    for number, contour in enumerate(contours):
        corners = cv2.approxPolyDP(contour, coarseness_px, True).reshape(-1, 2)
        is_gap = hierarchy.reshape(-1, 4)[number, 3] >= 0
        if len(corners) >= 3:
            drawn.append(DrawnOutline(GAP if is_gap else TUMOUR, corners.astype(np.int32)))
    return sorted(drawn, key=lambda outline: outline.group == GAP)


def asap_xml(outlines: Sequence[DrawnOutline]) -> str:
    """The outlines as the text of an ASAP annotation file; without outlines a file that holds none."""
    lines = ['<?xml version="1.0"?>', "<ASAP_Annotations>", "\t<Annotations>"]
    for number, outline in enumerate(outlines):
        lines += _annotation(number, outline)
    lines += ["\t</Annotations>", "\t<AnnotationGroups>"]
    for group in dict.fromkeys(outline.group for outline in outlines):
        lines.append(f'\t\t<Group Name="{group}" PartOfGroup="None" Color="#F4FA58"><Attributes /></Group>')
    lines += ["\t</AnnotationGroups>", "</ASAP_Annotations>", ""]
    return "\n".join(lines)


def _annotation(number: int, outline: DrawnOutline) -> list[str]:
    corners = [f'\t\t\t\t<Coordinate Order="{order}" X="{x}" Y="{y}" />'
               for order, (x, y) in enumerate(outline.points_xy)]
    head = f'\t\t<Annotation Name="Annotation {number}" Type="Polygon" PartOfGroup="{outline.group}" Color="#F4FA58">'
    return [head, "\t\t\t<Coordinates>", *corners, "\t\t\t</Coordinates>", "\t\t</Annotation>"]
