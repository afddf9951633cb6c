"""Annotations drawn in QuPath, read from the GeoJSON that it exports (in pixels of level 0)."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from epsam.annotations.asap_reader import MAX_COORDINATE_PX, MAX_ITEMS
from epsam.annotations.groups import BUILT_IN, NO_GROUP, GroupNames, sort_polygons
from epsam.annotations.polygons import Annotations, Polygon
from epsam.core.errors import AnnotationError

OBJECT_TYPES = ("annotation", "PathAnnotationObject", "")
"""Values of objectType that a person's annotation has; cells and tiles of a classifier are others.
"""


def read_annotations(path: Path, groups: GroupNames = BUILT_IN) -> Annotations:
    """Annotations of a GeoJSON file, polygons in level-0 pixels; the class is the group.

    The rings of a polygon with holes are joined to one line, which leaves the holes out. (As hole
    polygons of their own they would also clear whatever other polygon overlaps them.) Points and
    lines have no area and are dropped. Raises AnnotationError if the file is no GeoJSON, holds a
    class without a meaning, more items than anyone draws, or coordinates that are no numbers.
    """
    shapes = read_shapes(path)
    meanings = {group: groups.find_meaning(group) for group, _ in shapes}
    return sort_polygons(path, shapes, meanings, "QuPath")


def read_shapes(path: Path) -> list[tuple[str, Polygon]]:
    """The annotations of a file as (class, polygon) in their order, whatever their classes mean.

    Raises AnnotationError as `read_annotations` does.
    """
    shapes: list[tuple[str, Polygon]] = []
    for number, feature in enumerate(_load_features(path), start=1):
        if number > MAX_ITEMS:
            raise AnnotationError(
                f"{path}: more than {MAX_ITEMS} objects; export annotations alone from QuPath"
            )
        try:
            properties = feature.get("properties") or {}
            if properties.get("objectType", "") not in OBJECT_TYPES:
                continue
            for polygon in _read_polygons(feature.get("geometry") or {}):
                shapes.append((_class_name(properties), polygon))
        except (
            AttributeError,
            KeyError,
            IndexError,
            TypeError,
            ValueError,
            OverflowError,
        ) as error:
            raise AnnotationError(
                f"{path}: object {number} is no polygon in pixels ({error}); export it from QuPath "
                "again"
            ) from error
    return shapes


def _load_features(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise AnnotationError(
            f"{path}: cannot be read ({error.strerror}); check the path and permissions"
        ) from error
    except (ValueError, RecursionError) as error:
        raise AnnotationError(
            f"{path}: not well-formed JSON ({error}); export it from QuPath again"
        ) from error

    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        content = content.get("features")
    elif isinstance(content, dict) and content.get("type") == "Feature":
        content = [content]
    # QuPath before version 0.3 exported a bare list of features.
    if not isinstance(content, list):
        raise AnnotationError(
            f"{path}: no FeatureCollection; export the annotations from QuPath as GeoJSON"
        )
    return content


def _class_name(properties: dict[str, Any]) -> str:
    classification = properties.get("classification") or {}
    names = classification.get("names")
    # A derived class has a list of names since QuPath 0.5.
    name = ": ".join(names) if names else classification.get("name")
    return str(name) if name else NO_GROUP


def _read_polygons(geometry: dict[str, Any]) -> Iterator[Polygon]:
    """Polygons of a geometry; an array of no corners for a point or a line."""
    kind = geometry.get("type")
    if kind == "Polygon":
        yield join_rings(geometry["coordinates"])
    elif kind == "MultiPolygon":
        for rings in geometry["coordinates"]:
            yield join_rings(rings)
    elif kind == "GeometryCollection":
        for part in geometry["geometries"]:
            yield from _read_polygons(part)
    else:
        yield np.empty((0, 2))


def join_rings(rings: Sequence[Any]) -> Polygon:
    """One closed outline through all rings of a polygon, each a list of points (x, y).

    It goes from the first corner of the outer ring to each hole and back. By the even-odd rule the
    two ways cancel each other, and the holes are outside.
    """
    corners: list[tuple[float, float]] = []
    for ring in rings:
        points = [_read_point(point) for point in ring]
        if points and points[0] == points[-1]:
            points.pop()
        if len(points) < 3:
            continue
        corners += points
        if len(corners) > len(points):
            corners += [points[0], corners[0]]
        elif len(rings) > 1:
            corners.append(points[0])
    return np.array(corners, dtype=np.float64).reshape(-1, 2)


def _read_point(point: list[Any]) -> tuple[float, float]:
    x, y = float(point[0]), float(point[1])
    for value in (x, y):
        if not math.isfinite(value) or abs(value) > MAX_COORDINATE_PX:
            raise ValueError(f"{value} is no pixel coordinate")
    return x, y
