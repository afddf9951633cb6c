"""QuPath's GeoJSON as training annotations."""

import json

import numpy as np
import pytest

from epsam.annotations.contours import Ring
from epsam.annotations.geojson import format_geojson
from epsam.annotations.geojson_reader import read_annotations
from epsam.annotations.groups import GroupNames
from epsam.annotations.polygons import rasterize_tumour
from epsam.annotations.reader import read_annotation_file
from epsam.core.errors import AnnotationError
from epsam.extraction.discovery import discover_slides
from epsam.extraction.slide_labels import SlideLabels
from support.fuzzing import damaged, fuzz


def box(left, top, right, bottom):
    """A closed ring, as GeoJSON has it."""
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def feature(kind, coordinates, name="Tumor", **properties):
    classification = {"name": name, "color": [200, 0, 0]} if name else None
    return {
        "type": "Feature",
        "id": "PathAnnotationObject",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": {"classification": classification, **properties},
    }


def write(tmp_path, *features, wrap=True):
    path = tmp_path / "slide.geojson"
    content = list(features)
    path.write_text(
        json.dumps({"type": "FeatureCollection", "features": content} if wrap else content)
    )
    return path


def mask_of(annotations, side=40):
    return rasterize_tumour(annotations, 0, 0, side, side)


@pytest.mark.parametrize("wrap", [True, False])
def test_a_hole_clears_its_own_polygon_and_not_the_island_in_it(tmp_path, wrap):
    ring = feature("Polygon", [box(2, 2, 30, 30), box(6, 6, 20, 20), box(22, 22, 26, 28)])
    island = feature("Polygon", [box(10, 10, 14, 14)])
    expected = np.zeros((40, 40), bool)
    expected[2:30, 2:30] = True
    expected[6:20, 6:20] = False
    expected[22:28, 22:26] = False
    expected[10:14, 10:14] = True
    assert np.array_equal(
        mask_of(read_annotations(write(tmp_path, ring, island, wrap=wrap))), expected
    )


def test_several_polygons_and_collections_are_all_read(tmp_path):
    several = feature("MultiPolygon", [[box(0, 0, 4, 4)], [box(10, 0, 14, 4), box(11, 1, 13, 3)]])
    collection = feature("GeometryCollection", None)
    collection["geometry"] = {
        "type": "GeometryCollection",
        "geometries": [{"type": "Polygon", "coordinates": [box(20, 0, 24, 4)]}],
    }
    annotations = read_annotations(write(tmp_path, several, collection))
    # 16 + 16 − 4 + 16 px.
    assert mask_of(annotations).sum() == 44
    assert len(annotations.tumour) == 3


def test_classes_are_groups_and_one_without_a_class_is_no_tumour(tmp_path):
    path = write(
        tmp_path,
        feature("Polygon", [box(0, 0, 10, 10)], "tumour "),
        feature("Polygon", [box(0, 0, 3, 3)], "Exclusion"),
        feature("Polygon", [box(20, 20, 30, 30)], None),
        feature("Point", [5, 5]),
    )
    annotations = read_annotation_file(path)
    assert (len(annotations.tumour), len(annotations.holes)) == (1, 2)
    assert (len(annotations.ungrouped), annotations.n_dropped) == (1, 1)
    assert mask_of(annotations).sum() == 91


def test_cells_and_tiles_are_no_annotations(tmp_path):
    path = write(
        tmp_path,
        feature("Polygon", [box(0, 0, 10, 10)], objectType="annotation"),
        feature("Polygon", [box(20, 0, 30, 10)], objectType="cell"),
    )
    assert len(read_annotations(path).tumour) == 1


def test_classes_can_be_named_and_others_are_an_error_that_lists_them(tmp_path):
    path = write(
        tmp_path,
        feature("Polygon", [box(0, 0, 10, 10)], "Invasive  front"),
        feature("Polygon", [box(2, 2, 4, 4)], "Necrosis"),
    )
    with pytest.raises(AnnotationError, match="'Invasive  front', 'Necrosis'; name it by --tumour"):
        read_annotations(path)
    groups = GroupNames(("invasive front",), ("NECROSIS",))
    assert mask_of(read_annotations(path, groups)).sum() == 96


def test_contours_of_an_inference_can_be_trained_on(tmp_path):
    """What `format_geojson` writes of a mask is the same mask when it is read."""
    rings = [
        Ring(np.array([[2, 2], [30, 2], [30, 30], [2, 30]], float), False, -1),
        Ring(np.array([[6, 6], [6, 9], [9, 9], [9, 6]], float), True, 0),
    ]
    path = tmp_path / "tumour.geojson"
    path.write_text("".join(format_geojson(rings, 1.0, 0.5)), encoding="utf-8")
    expected = np.zeros((40, 40), bool)
    expected[2:30, 2:30] = True
    expected[6:9, 6:9] = False
    assert np.array_equal(mask_of(read_annotations(path)), expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not well-formed JSON"),
        ("[" * 100_000, "not well-formed JSON"),
        ("{}", "no FeatureCollection"),
        ('{"type": "FeatureCollection"}', "no FeatureCollection"),
        ("[1]", "object 1 is no polygon"),
        (json.dumps([feature("Polygon", [[["a", 1]]])]), "object 1 is no polygon"),
        (json.dumps([feature("Polygon", [box(0, 0, 1e9, 1)])]), "no pixel coordinate"),
        (json.dumps([feature("Polygon", [box(0, 0, 5, float("nan"))])]), "no pixel coordinate"),
        (json.dumps([feature("Polygon", 5)]), "object 1 is no polygon"),
    ],
)
def test_other_content_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "slide.geojson"
    path.write_text(content)
    with pytest.raises(AnnotationError, match=rf"slide\.geojson.*{message}"):
        read_annotations(path)


def test_geojson_is_discovered_beside_xml_and_one_slide_has_one_of_them(tmp_path):
    for folder, name in (("images", "a.tif"), ("images", "b.tif"), ("notes", "a.geojson")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).touch()
    for name in ("b.geojson", "b.xml"):
        (tmp_path / "notes" / name).touch()
    records, _ = discover_slides(tmp_path / "images", tmp_path / "notes", SlideLabels())
    assert [(record.name, record.status) for record in records] == [("a", "used"), ("b", "failed")]
    assert "2 outline files" in records[1].reason


GOOD = json.dumps([feature("Polygon", [box(0, 0, 10, 10), box(2, 2, 4, 4)])]).encode()


def test_fuzzed_geojson_is_content_or_one_clear_error(tmp_path):
    path = tmp_path / "slide.geojson"

    def attempt(content):
        path.write_bytes(content)
        try:
            mask_of(read_annotations(path))
        except AnnotationError as error:
            return str(error)
        return ""

    outcome = fuzz(damaged(GOOD), 50, attempt)
    assert all(message.startswith(str(path)) for message in outcome.messages)
