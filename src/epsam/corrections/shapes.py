"""Corrections as shapes with a meaning, and the pixels that they make trustworthy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from epsam.annotations.groups import HOLE, NO_GROUP, TUMOUR, GroupNames, normalize_group
from epsam.annotations.polygons import Polygon, fill_polygon
from epsam.data.images import Mask

NORMAL = HOLE
"""No tumour there."""
REVIEWED = "reviewed"
"""An area that a person has looked at: where no other shape lies in it, there is no tumour."""

CLASS_NAMES = {TUMOUR: "Tumor", NORMAL: "Other", REVIEWED: "Reviewed"}
"""The class in QuPath of each meaning."""
_MORE_NAMES = {"Reviewed": REVIEWED, "Region*": REVIEWED, "Other": NORMAL}
"""Names that corrections have beside those of annotations; the second is a class of QuPath's."""
_PAINTING_ORDER = (REVIEWED, TUMOUR, NORMAL)
"""In which shapes of programs that keep no order are painted, holes last as in annotations
(docs/deviations.md, "Holes").
"""


@dataclass(frozen=True)
class CorrectionGroups(GroupNames):
    """The groups of corrections. A shape in no group says nothing, other than in annotations."""

    def find_meaning(self, group: str) -> str:
        """What a group means by its name; empty if the name says nothing."""
        name = normalize_group(group)
        if name == normalize_group(NO_GROUP):
            return ""
        for known_name, meaning in _MORE_NAMES.items():
            if name == normalize_group(known_name):
                return meaning
        return super().find_meaning(group)


class CorrectedShape(NamedTuple):
    """A polygon, and `TUMOUR`, `NORMAL` or `REVIEWED`."""

    meaning: str
    polygon: Polygon


class TrustedPixels(NamedTuple):
    """What a person has said of the pixels (height, width) of a region.

    reviewed: pixels that somebody has looked at. tumour: those of them that are tumour.
    """

    reviewed: Mask
    tumour: Mask


def sort_for_painting(shapes: Sequence[CorrectedShape]) -> list[CorrectedShape]:
    """The shapes in the order in which they are painted if their file has none."""
    return sorted(shapes, key=lambda shape: _PAINTING_ORDER.index(shape.meaning))


def paint_shapes(
    shapes: Sequence[CorrectedShape],
    left_px0: float,
    top_px0: float,
    width: int,
    height: int,
    downsample: float = 1.0,
) -> TrustedPixels:
    """The trusted pixels of a region: its corner in pixels of the shapes, its size in pixels of the
    result. Later shapes lie over earlier ones; each has been looked at as a whole.

    A pixel counts if its centre is inside.
    """
    reviewed = np.zeros((height, width), dtype=np.bool_)
    tumour = np.zeros((height, width), dtype=np.bool_)
    origin = np.array([left_px0, top_px0])
    for shape in shapes:
        points = (shape.polygon - origin) / downsample
        fill_polygon(reviewed, points, True)
        fill_polygon(tumour, points, shape.meaning == TUMOUR)
    return TrustedPixels(reviewed, tumour)
