"""Writing outlines as ASAP reads them, and our own reader (`annotations.py`) too."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from epsam.annotations.asap_reader import Polygon
from epsam.annotations.contours import Ring, rings_by_parent

TUMOUR = "Tumor"
GAP = "Exclusion"


@dataclass(frozen=True)
class AsapAnnotation:
    """A closed outline: its group and its corners (n, 2) as (x, y), level-0 px."""

    group: str
    points_xy: npt.NDArray[np.int32 | np.float64]


def annotations_from_rings(rings: Sequence[Ring], scale: float) -> list[AsapAnnotation]:
    """Rings of a mask as outlines at level 0, of which a pixel of the mask spans `scale`: regions
    first, then holes.

    Holes are cleared after all tumour is filled, so islands in a hole are cut out of the hole's own
    outline, by a line that runs there and back.
    """
    drawn, islands = [], rings_by_parent(rings)
    for number, ring in enumerate(rings):
        inner = islands.get(number, []) if ring.is_hole else []
        points = _joined(ring.points_xy, [island.points_xy for island in inner])
        drawn.append(AsapAnnotation(GAP if ring.is_hole else TUMOUR, np.round(points * scale, 2)))
    return sorted(drawn, key=lambda outline: outline.group == GAP)


def _joined(outer: Polygon, inner: Sequence[Polygon]) -> Polygon:
    """One closed line whose inside, by the even-odd rule, is that of `outer` without that of the
    rings in it.
    """
    if not inner:
        return outer
    start = outer[:1]
    loops = [np.concatenate([ring, ring[:1], start]) for ring in inner]
    return np.concatenate([outer, start, *loops])


def format_asap_xml(outlines: Sequence[AsapAnnotation]) -> str:
    """The outlines as the text of an ASAP annotation file; without outlines a file that holds
    none.
    """
    lines = ['<?xml version="1.0"?>', "<ASAP_Annotations>", "\t<Annotations>"]
    for number, outline in enumerate(outlines):
        lines += _annotation(number, outline)
    lines += ["\t</Annotations>", "\t<AnnotationGroups>"]
    for group in dict.fromkeys(outline.group for outline in outlines):
        lines.append(
            f'\t\t<Group Name="{group}" PartOfGroup="None" Color="#F4FA58"><Attributes /></Group>'
        )
    lines += ["\t</AnnotationGroups>", "</ASAP_Annotations>", ""]
    return "\n".join(lines)


def _annotation(number: int, outline: AsapAnnotation) -> list[str]:
    corners = [
        f'\t\t\t\t<Coordinate Order="{order}" X="{x}" Y="{y}" />'
        for order, (x, y) in enumerate(outline.points_xy)
    ]
    head = f'\t\t<Annotation Name="Annotation {number}" Type="Polygon" PartOfGroup="{outline.group}" Color="#F4FA58">'
    return [head, "\t\t\t<Coordinates>", *corners, "\t\t\t</Coordinates>", "\t\t</Annotation>"]
