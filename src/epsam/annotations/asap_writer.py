"""Annotations as XML that ASAP and our own reader (`asap_reader.py`) open."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from epsam.annotations.contours import Ring, rings_by_parent
from epsam.annotations.polygons import Polygon
from epsam.annotations.regions import list_regions

TUMOUR = "Tumor"
EXCLUSION = "Exclusion"


@dataclass(frozen=True)
class AsapAnnotation:
    """A closed polygon: its group and its corners (n, 2) as (x, y), level-0 px.

    name: empty for one of its number in the file.
    """

    group: str
    points_xy: npt.NDArray[np.int32 | np.float64]
    name: str = ""


def annotations_from_rings(rings: Sequence[Ring], scale: float) -> list[AsapAnnotation]:
    """Rings of a mask as annotations at level 0, tumour first, then exclusions; `scale` is the
    number of level-0 pixels that a pixel of the mask spans. Regions have the names that they have
    in every file.
    """
    tumour = []
    for region in list_regions(rings):
        points = np.round(region.outer.points_xy * scale, 2)
        tumour.append(AsapAnnotation(TUMOUR, points, region.name))
    islands = rings_by_parent(rings)
    exclusions = []
    for number, ring in enumerate(rings):
        if ring.is_hole:
            # Readers clear holes after all tumour is filled, which would erase an island in a hole.
            # So the hole's own polygon leaves out the islands.
            inner = [island.points_xy for island in islands.get(number, [])]
            points = _join_rings(ring.points_xy, inner)
            exclusions.append(AsapAnnotation(EXCLUSION, np.round(points * scale, 2)))
    return tumour + exclusions


def _join_rings(outer: Polygon, inner: Sequence[Polygon]) -> Polygon:
    """One closed line whose inside, by the even-odd rule, is that of `outer` without that of the
    rings in it; a line runs from the outer ring to each inner one and back.
    """
    if not inner:
        return outer
    start = outer[:1]
    loops = [np.concatenate([ring, ring[:1], start]) for ring in inner]
    return np.concatenate([outer, start, *loops])


def format_asap_xml(annotations: Sequence[AsapAnnotation]) -> str:
    """The text of an ASAP annotation file; without annotations, one that holds none."""
    lines = ['<?xml version="1.0"?>', "<ASAP_Annotations>", "\t<Annotations>"]
    for number, annotation in enumerate(annotations):
        lines += _format_annotation(number, annotation)
    lines += ["\t</Annotations>", "\t<AnnotationGroups>"]

    # A dictionary rather than a set: the groups stay in the order of their first use.
    groups = dict.fromkeys(annotation.group for annotation in annotations)
    for group in groups:
        lines.append(
            f'\t\t<Group Name="{group}" PartOfGroup="None" Color="#F4FA58"><Attributes /></Group>'
        )
    lines += ["\t</AnnotationGroups>", "</ASAP_Annotations>", ""]
    return "\n".join(lines)


def _format_annotation(number: int, annotation: AsapAnnotation) -> list[str]:
    name = annotation.name or f"Annotation {number}"
    lines = [
        f'\t\t<Annotation Name="{name}" Type="Polygon" '
        f'PartOfGroup="{annotation.group}" Color="#F4FA58">',
        "\t\t\t<Coordinates>",
    ]
    for order, (x, y) in enumerate(annotation.points_xy):
        lines.append(f'\t\t\t\t<Coordinate Order="{order}" X="{x}" Y="{y}" />')
    lines += ["\t\t\t</Coordinates>", "\t\t</Annotation>"]
    return lines
