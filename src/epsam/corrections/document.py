"""A file of corrections, `<slide or patch>.geojson`: GeoJSON that QuPath opens, with the reviewed
area, its revision, and the history of all edits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from epsam.annotations.asap_reader import MAX_COORDINATE_PX
from epsam.annotations.groups import TUMOUR
from epsam.annotations.polygons import Polygon
from epsam.core.errors import AnnotationError, DatasetError
from epsam.core.files import read_json, write_json
from epsam.corrections.shapes import CLASS_NAMES, NORMAL, REVIEWED, CorrectedShape

MEMBER = "epsam"
"""The member of the FeatureCollection that other programs do not know, and leave alone."""
VERSION = 1
ACTIONS = {
    "tumour": TUMOUR,
    "normal": NORMAL,
    "reviewed": REVIEWED,
    "accept": TUMOUR,
    "reject": NORMAL,
}
"""What a person does in the page → the meaning of the polygon. `accept` and `reject` are of a
region of the model; to cut or to erase a part is `normal`.
"""
# Both limits are this project's: nobody draws more by hand.
MAX_CORNERS = 100_000
MAX_EDITS = 10_000


@dataclass(frozen=True)
class Edit:
    """One polygon that a person has drawn, or a region of the model that was judged."""

    id: str
    action: str
    polygon: Polygon
    time: str

    @property
    def shape(self) -> CorrectedShape:
        return CorrectedShape(ACTIONS[self.action], self.polygon)


@dataclass(frozen=True)
class CorrectionDocument:
    """The corrections of one image.

    image: name of the slide or patch. revision: how often it was changed. edits: those that hold,
    in the order in which they are painted. history: a plain record of each change, newest last;
    that of an undo holds the whole feature that it took back.
    """

    image: str
    revision: int = 0
    edits: tuple[Edit, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()

    def add(self, action: str, polygon: Polygon, time: str) -> "CorrectionDocument":
        """The document with one more edit. Raises AnnotationError if the edit is none."""
        if action not in ACTIONS:
            raise AnnotationError(f"{action!r}: no correction; use {', '.join(ACTIONS)}")
        if len(self.edits) >= MAX_EDITS:
            raise AnnotationError(f"{self.image}: {MAX_EDITS} corrections; more are not taken")
        revision = self.revision + 1
        edit = Edit(f"{self.image}-{revision}", action, polygon, time)
        entry = {"revision": revision, "time": time, "change": "add", "feature": edit.id}
        return replace(
            self,
            revision=revision,
            edits=(*self.edits, edit),
            history=(*self.history, entry),
        )

    def undo(self, time: str) -> "CorrectionDocument":
        """The document without its last edit, which its history keeps.

        Raises AnnotationError if there is none.
        """
        if not self.edits:
            raise AnnotationError(f"{self.image}: no correction is left to undo")
        entry = {
            "revision": self.revision + 1,
            "time": time,
            "change": "undo",
            "feature": format_feature(self.edits[-1]),
        }
        return replace(
            self,
            revision=self.revision + 1,
            edits=self.edits[:-1],
            history=(*self.history, entry),
        )


def read_document(path: Path) -> CorrectionDocument:
    """The document of a file that this project wrote.

    Raises AnnotationError if the file is damaged or none of ours.
    """
    content = read_json(path)
    try:
        member = content[MEMBER]
        edits = [_read_edit(feature) for feature in content["features"]]
        return CorrectionDocument(
            str(member["image"]), int(member["revision"]), tuple(edits), tuple(member["history"])
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise AnnotationError(
            f"{path}: damaged ({type(error).__name__} {error}); restore it, or remove it and "
            "correct again"
        ) from error


def write_document(path: Path, document: CorrectionDocument) -> None:
    """Write the document, whole or not at all."""
    member = {
        "version": VERSION,
        "image": document.image,
        "revision": document.revision,
        "history": list(document.history),
    }
    features = [format_feature(edit) for edit in document.edits]
    write_json(path, {"type": "FeatureCollection", MEMBER: member, "features": features})


def has_member(path: Path) -> bool:
    """Whether a GeoJSON file is one of ours, whose shapes have an order."""
    try:
        return MEMBER in read_json(path)
    except DatasetError:
        # A bare list of features, as older versions of QuPath export, is not ours. Of a damaged
        # file its reader says what is wrong.
        return False


def format_feature(edit: Edit) -> dict[str, Any]:
    """An edit as a GeoJSON feature that QuPath shows as an annotation of its class."""
    corners = edit.polygon.tolist()
    return {
        "type": "Feature",
        "id": edit.id,
        "geometry": {"type": "Polygon", "coordinates": [[*corners, corners[0]]]},
        "properties": {
            "objectType": "annotation",
            "classification": {"name": CLASS_NAMES[ACTIONS[edit.action]]},
            "action": edit.action,
            "time": edit.time,
        },
    }


def read_polygon(corners: Sequence[Sequence[Any]]) -> Polygon:
    """A polygon of corners [x, y]. Raises ValueError if it is none, or too large."""
    if not 3 <= len(corners) <= MAX_CORNERS:
        raise ValueError(f"{len(corners)} corners, 3 to {MAX_CORNERS} expected")
    polygon = np.array([[float(x), float(y)] for x, y in corners])
    if not np.isfinite(polygon).all() or float(np.abs(polygon).max()) > MAX_COORDINATE_PX:
        raise ValueError("a corner is no pixel coordinate")
    return polygon


def _read_edit(feature: Mapping[str, Any]) -> Edit:
    properties = feature["properties"]
    action = str(properties["action"])
    if action not in ACTIONS:
        raise ValueError(f"action {action}")
    (ring,) = feature["geometry"]["coordinates"]
    return Edit(str(feature["id"]), action, read_polygon(ring[:-1]), str(properties["time"]))
