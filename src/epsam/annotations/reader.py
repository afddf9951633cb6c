"""Annotations of a slide from a file of any format that is read here."""

from pathlib import Path

from epsam.annotations import asap_reader, geojson_reader
from epsam.annotations.groups import BUILT_IN, GroupNames
from epsam.annotations.polygons import Annotations

_READERS = {
    ".xml": asap_reader.read_annotations,
    ".geojson": geojson_reader.read_annotations,
}
ANNOTATION_SUFFIXES = tuple(_READERS)


def read_annotation_file(path: Path, groups: GroupNames = BUILT_IN) -> Annotations:
    """Annotations of ASAP's XML or QuPath's GeoJSON, polygons in level-0 pixels.

    Raises AnnotationError if the file cannot be read, or holds a group without a meaning.
    """
    return _READERS[path.suffix.lower()](path, groups)
