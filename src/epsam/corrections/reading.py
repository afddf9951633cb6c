"""Corrections of any program: this project's files, QuPath's GeoJSON, ASAP's XML."""

from collections.abc import Sequence
from pathlib import Path

from epsam.annotations import asap_reader, geojson_reader
from epsam.annotations.groups import MAX_QUOTED, NO_GROUP
from epsam.annotations.polygons import Polygon
from epsam.annotations.reader import ANNOTATION_SUFFIXES
from epsam.core.errors import AnnotationError, DatasetError
from epsam.corrections.document import has_member, read_document
from epsam.corrections.shapes import (
    CLASS_NAMES,
    CorrectedShape,
    CorrectionGroups,
    sort_for_painting,
)


def list_correction_files(folder: Path) -> dict[str, Path]:
    """The files of corrections of a folder and of those below it, by name of slide or patch: the
    path without its suffix.

    Raises DatasetError if the folder is none, or if two files are of one image.
    """
    if not folder.is_dir():
        raise DatasetError(
            f"{folder}: no such folder; correct patches or slides with ./view.sh --corrections "
            f"{folder}, or correct the path"
        )
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in ANNOTATION_SUFFIXES or path.name.startswith("."):
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in files:
            raise DatasetError(
                f"{path}: {files[name].name} holds corrections of the same image; remove one of "
                "them"
            )
        files[name] = path
    return files


def read_corrections(path: Path) -> list[CorrectedShape]:
    """The shapes of a file in the order in which they are painted, in pixels of the image.

    Shapes of fewer than three corners have no area and are left out. Raises AnnotationError if the
    file cannot be read, or holds a class that is no correction.
    """
    if path.suffix.lower() == ".xml":
        shapes, meanings = asap_reader.read_shapes(path, CorrectionGroups())
    elif has_member(path):
        return [edit.shape for edit in read_document(path).edits]
    else:
        shapes = geojson_reader.read_shapes(path)
        groups = CorrectionGroups()
        meanings = {name: groups.find_meaning(name) for name, _ in shapes}
    return sort_for_painting(_name_meanings(path, shapes, meanings))


def _name_meanings(
    path: Path, shapes: Sequence[tuple[str, Polygon]], meanings: dict[str, str]
) -> list[CorrectedShape]:
    corrected = []
    for group, polygon in shapes:
        if not meanings[group]:
            name = "no class" if group == NO_GROUP else f"class {group[:MAX_QUOTED]!r}"
            raise AnnotationError(
                f"{path}: a shape of {name}, which is no correction; give it one of "
                f"{', '.join(CLASS_NAMES.values())}"
            )
        if len(polygon) >= 3:
            corrected.append(CorrectedShape(meanings[group], polygon))
    return corrected
