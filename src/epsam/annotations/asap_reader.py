"""Annotations drawn in ASAP, read from its XML."""

import math
import xml.parsers.expat
from array import array
from pathlib import Path
from typing import NoReturn

import numpy as np

from epsam.annotations.groups import BUILT_IN, MAX_QUOTED, NO_GROUP, GroupNames, sort_polygons
from epsam.annotations.polygons import Annotations, Polygon
from epsam.core.errors import AnnotationError

# All limits are this project's.
MAX_COORDINATE_PX = 1e7  # no scanner makes slides of ten million pixels: such a number is a mistake
MAX_ITEMS = 1_000_000  # annotations and groups; a slide of CAMELYON has some hundreds


def read_annotations(path: Path, groups: GroupNames = BUILT_IN) -> Annotations:
    """Annotations of an ASAP XML file, polygons in level-0 pixels.

    Groups may lie in groups: an annotation means what the nearest group around it with a name that
    `groups` holds means. Shapes of fewer than three points have no area and are dropped. Raises
    AnnotationError on ill-formed XML, a document type (its entities could be made to grow without
    bound), an unknown group, more items than anyone draws, or coordinates that are no numbers.
    """
    shapes, meanings = read_shapes(path, groups)
    return sort_polygons(path, shapes, meanings, "ASAP")


def read_shapes(path: Path, groups: GroupNames) -> tuple[list[tuple[str, Polygon]], dict[str, str]]:
    """The annotations of a file as (group, polygon) in their order, and what each group means, ""
    if it has no meaning.

    Raises AnnotationError as `read_annotations` does, but for unknown groups.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AnnotationError(
            f"{path}: cannot be read ({error.strerror}); check the path and permissions"
        ) from error
    parser = _AsapParser(path, groups)
    parser.parse(content)
    return parser.list_shapes(), parser.list_meanings()


class _AsapParser:
    """Collects shapes and the nesting of groups while expat walks through the file."""

    def __init__(self, path: Path, groups: GroupNames) -> None:
        self.path = path
        self.groups = groups
        # Each group with x, y, x, y, …: a tenth of the memory of pairs in a list.
        self.shapes: list[tuple[str, array[float]]] = []
        self.parents: dict[str, str] = {}
        self.root = ""

    def parse(self, content: bytes) -> None:
        """Collect what the file holds. Raises AnnotationError as `read_annotations` says."""
        parser = xml.parsers.expat.ParserCreate()
        parser.StartElementHandler = self._start_element
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        try:
            parser.Parse(content, True)
        except (xml.parsers.expat.ExpatError, UnicodeDecodeError, LookupError, ValueError) as error:
            raise AnnotationError(
                f"{self.path}: not well-formed XML ({error}); export it from ASAP again"
            ) from error
        if self.root != "ASAP_Annotations":
            raise AnnotationError(
                f"{self.path}: root {self.root}, expected ASAP_Annotations; export it from ASAP"
            )

    def list_shapes(self) -> list[tuple[str, Polygon]]:
        """The collected shapes as (group, polygon)."""
        polygons = []
        for group, coordinates in self.shapes:
            polygons.append((group, np.array(coordinates).reshape(-1, 2)))
        return polygons

    def list_meanings(self) -> dict[str, str]:
        """What the groups of the collected shapes mean, "" for an unknown one."""
        return {group: self._find_meaning(group) for group, _ in self.shapes}

    def _start_element(self, name: str, attributes: dict[str, str]) -> None:
        self.root = self.root or name
        if len(self.shapes) + len(self.parents) > MAX_ITEMS:
            raise AnnotationError(
                f"{self.path}: more than {MAX_ITEMS} annotations and groups; export it from ASAP "
                "again"
            )
        if name == "Annotation":
            self.shapes.append((attributes.get("PartOfGroup", NO_GROUP), array("d")))
        elif name == "Group":
            self.parents[attributes.get("Name", "")] = attributes.get("PartOfGroup", NO_GROUP)
        elif name == "Coordinate" and self.shapes:
            _, coordinates = self.shapes[-1]
            x = self._read_coordinate(attributes, "X")
            y = self._read_coordinate(attributes, "Y")
            coordinates.extend((x, y))

    def _read_coordinate(self, attributes: dict[str, str], axis: str) -> float:
        text = attributes.get(axis, "")
        try:
            # ASAP writes the decimal sign of the computer's language.
            value = float(text.replace(",", "."))
        except ValueError:
            value = math.nan
        # Written so that NaN is refused, too.
        if not abs(value) <= MAX_COORDINATE_PX:
            raise AnnotationError(
                f"{self.path}: annotation {len(self.shapes)} has {axis}={text[:MAX_QUOTED]!r}, "
                "which is no pixel coordinate; correct the file"
            )
        return value

    def _refuse_doctype(self, *_: object) -> NoReturn:
        raise AnnotationError(
            f"{self.path}: has a DOCTYPE, which ASAP never writes; export it from ASAP again"
        )

    def _find_meaning(self, group: str) -> str:
        """What a group means by its own name or by that of the nearest group around it; empty if
        neither name has a meaning.
        """
        name = group
        visited: set[str] = set()  # groups may lie in each other in a circle
        while not self.groups.find_meaning(name) and name not in visited:
            visited.add(name)
            name = self.parents.get(name, "")

        # "None" also ends every chain of parents; only a shape that is in no group at all has it as
        # its own group.
        if name == NO_GROUP and group != NO_GROUP:
            return ""
        return self.groups.find_meaning(name)
