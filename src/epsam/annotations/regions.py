"""The regions that a slide's contours outline: numbers and ids, area, perimeter, and which of them
are large enough to be outlined.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from epsam.annotations.contours import Ring, rings_by_parent, signed_area
from epsam.annotations.polygons import Annotations

_ID_SPACE = uuid.UUID("5b0f0f0e-2f7c-4a86-9a4e-8f3b8e1f7c11")
"""This project: ids of the same slide and region are the same in every run."""


@dataclass(frozen=True, slots=True)
class Region:
    """A region with its holes, in px of the mask.

    number: 1, 2, … from top to bottom; the region's name in every file is made of it.
    """

    number: int
    outer: Ring
    holes: Sequence[Ring]

    @property
    def name(self) -> str:
        return f"region {self.number}"

    @property
    def area_px2(self) -> float:
        """The area without that of its holes."""
        # Areas of holes are negative.
        return _net_area(self.outer, self.holes)

    @property
    def perimeter_px(self) -> float:
        """The length of the outer contour; those of holes do not count."""
        points = self.outer.points_xy
        return float(np.linalg.norm(points - np.roll(points, -1, axis=0), axis=1).sum())

    @property
    def centre_xy(self) -> tuple[float, float]:
        """The middle of the bounding box."""
        points = self.outer.points_xy
        x, y = ((points.min(axis=0) + points.max(axis=0)) / 2).tolist()
        return x, y

    @property
    def shape(self) -> Annotations:
        """The region to be rasterized in the mask's frame."""
        return Annotations([self.outer.points_xy], [hole.points_xy for hole in self.holes])

    def id_on(self, slide: str) -> str:
        """Its id on a slide of this name, a UUID as QuPath takes them."""
        return str(uuid.uuid5(_ID_SPACE, f"{slide}/{self.number}"))


def list_regions(rings: Sequence[Ring]) -> list[Region]:
    """The regions of these rings, numbered in their order."""
    return list(iterate_regions(rings))


def iterate_regions(rings: Sequence[Ring]) -> Iterator[Region]:
    """`list_regions` one by one, for slides of very many."""
    by_parent = rings_by_parent(rings)
    number = 0
    for index, ring in enumerate(rings):
        if not ring.is_hole:
            number += 1
            yield Region(number, ring, by_parent.get(index, []))


def leave_out_small_regions(rings: Sequence[Ring], min_area_px2: float) -> list[Ring]:
    """The rings without regions of a smaller area and without the holes of these; all other holes
    stay, whatever their area.

    What lies in a hole that is left out lies in what is around it.
    """
    by_parent = rings_by_parent(rings)
    left_out = set()
    for index, ring in enumerate(rings):
        if not ring.is_hole and _net_area(ring, by_parent.get(index, [])) < min_area_px2:
            left_out.add(index)
    for index, ring in enumerate(rings):
        if ring.is_hole and ring.parent in left_out:
            left_out.add(index)

    new_numbers = {-1: -1}
    for index in range(len(rings)):
        if index not in left_out:
            new_numbers[index] = len(new_numbers) - 1
    remaining = []
    for index, ring in enumerate(rings):
        if index in left_out:
            continue
        parent = ring.parent
        while parent in left_out:
            parent = rings[parent].parent
        new_parent = new_numbers[parent]
        # Most rings stay as they are, and need no copy.
        is_same = new_parent == ring.parent
        remaining.append(ring if is_same else replace(ring, parent=new_parent))
    return remaining


def _net_area(outer: Ring, holes: Sequence[Ring]) -> float:
    return sum(signed_area(ring.points_xy) for ring in (outer, *holes))
