"""Files of corrections: whole, with history and undo, never overwritten in silence."""

import json

import numpy as np
import pytest

from epsam.annotations.geojson_reader import read_annotations
from epsam.core.errors import AnnotationError, DatasetError
from epsam.core.files import read_json
from epsam.corrections.reading import list_correction_files, read_corrections
from epsam.corrections.shapes import NORMAL, REVIEWED, TUMOUR
from epsam.corrections.store import CorrectionStore, OutdatedPageError

SQUARE = [[0, 0], [4, 0], [4, 4], [0, 4]]
LOWER = [[0, 2], [4, 2], [4, 4], [0, 4]]


@pytest.fixture
def store(tmp_path):
    return CorrectionStore(tmp_path / "corrections")


def meanings(path):
    return [shape.meaning for shape in read_corrections(path)]


def test_edits_are_written_in_their_order_and_undone_from_the_last_on(store):
    first = store.add("s", 0, "tumour", SQUARE)
    second = store.add("s", first.revision, "normal", LOWER)
    path = store.folder / "s.geojson"
    assert meanings(path) == [TUMOUR, NORMAL]

    third = store.undo("s", second.revision)
    assert meanings(path) == [TUMOUR]
    assert (first.revision, second.revision, third.revision) == (1, 2, 3)

    history = read_json(path)["epsam"]["history"]
    assert [entry["change"] for entry in history] == ["add", "add", "undo"]
    # Nothing that was drawn is lost.
    undone = history[2]["feature"]
    assert undone["id"] == history[1]["feature"]
    assert undone["geometry"]["coordinates"] == [[*LOWER, LOWER[0]]]
    loaded = store.load("s")
    assert (loaded.revision, [edit.id for edit in loaded.edits]) == (3, ["s-1"])


def test_a_page_that_has_not_seen_the_last_change_does_not_overwrite_it(store):
    store.add("s", 0, "tumour", SQUARE)
    with pytest.raises(OutdatedPageError, match="another page has changed"):
        store.add("s", 0, "normal", SQUARE)
    with pytest.raises(OutdatedPageError, match="revision 1, here 0"):
        store.undo("s", 0)
    assert meanings(store.folder / "s.geojson") == [TUMOUR]


def test_the_file_is_one_that_qupath_and_our_own_reader_of_annotations_take(store):
    store.add("s", 0, "tumour", SQUARE)
    annotations = read_annotations(store.folder / "s.geojson")
    np.testing.assert_array_equal(annotations.tumour[0], SQUARE)


@pytest.mark.parametrize(
    ("action", "corners", "message"),
    [
        ("tumour", SQUARE[:2], "no polygon: 2 corners"),
        ("tumour", [[0, 0], [1, 1], [1, float("nan")]], "no pixel coordinate"),
        ("tumour", [[0, 0], [1, 1], [1, 1e9]], "no pixel coordinate"),
        ("tumour", [[0, 0], [1, 1], [1, 2, 3]], "no polygon"),
        ("tumour", [[0, 0], [1, 1], "xy"], "no polygon"),
        ("paint", SQUARE, "'paint': no correction; use tumour, normal, reviewed"),
    ],
)
def test_what_is_no_edit_is_refused_and_nothing_is_written(store, action, corners, message):
    with pytest.raises(AnnotationError, match=message):
        store.add("s", 0, action, corners)
    assert list(store.folder.glob("*.geojson")) == []


def test_nothing_to_undo_is_one_line(store):
    with pytest.raises(AnnotationError, match="no correction is left to undo"):
        store.undo("s", 0)


def test_a_link_out_of_the_folder_is_not_followed(store, tmp_path):
    store.folder.mkdir()
    (tmp_path / "else.geojson").write_text("[]")
    (store.folder / "s.geojson").symlink_to(tmp_path / "else.geojson")
    with pytest.raises(AnnotationError, match="leads out of"):
        store.add("s", 0, "tumour", SQUARE)
    assert (tmp_path / "else.geojson").read_text() == "[]"


def qupath(*features):
    collection = []
    for name, corners in features:
        geometry = {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}
        properties = {"objectType": "annotation", "classification": {"name": name}}
        collection.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return collection


@pytest.mark.parametrize("wrap", [list, lambda f: {"type": "FeatureCollection", "features": f}])
def test_corrections_of_qupath_are_painted_reviewed_first_and_holes_last(store, wrap):
    store.folder.mkdir()
    path = store.folder / "s.geojson"
    features = qupath(("Other", LOWER), ("Tumor", SQUARE), ("Reviewed", SQUARE))
    path.write_text(json.dumps(wrap(features)))
    assert meanings(path) == [REVIEWED, TUMOUR, NORMAL]

    # In the page they are edits like others.
    changed = store.add("s", store.load("s").revision, "tumour", LOWER)
    assert [edit.action for edit in changed.edits] == ["reviewed", "tumour", "normal", "tumour"]
    assert meanings(path) == [REVIEWED, TUMOUR, NORMAL, TUMOUR]


ASAP = (
    "<ASAP_Annotations><Annotations>"
    '<Annotation PartOfGroup="{group}"><Coordinates>'
    '<Coordinate X="0" Y="0"/><Coordinate X="4" Y="0"/><Coordinate X="4" Y="4"/>'
    "</Coordinates></Annotation></Annotations></ASAP_Annotations>"
)


def test_corrections_of_asap_are_taken_over_by_the_first_edit(store):
    store.folder.mkdir()
    (store.folder / "s.xml").write_text(ASAP.format(group="metastases"))
    assert meanings(store.folder / "s.xml") == [TUMOUR]
    store.add("s", 1, "normal", LOWER)
    # Two files for one image would be refused; the old one stays under another name.
    assert list(list_correction_files(store.folder)) == ["s"]
    assert meanings(store.folder / "s.geojson") == [TUMOUR, NORMAL]
    assert (store.folder / "s.xml.imported").is_file()


def test_a_shape_of_another_class_or_of_none_is_named(store):
    store.folder.mkdir()
    path = store.folder / "s.xml"
    path.write_text(ASAP.format(group="lymphocytes"))
    with pytest.raises(AnnotationError, match="class 'lymphocytes', which is no correction"):
        read_corrections(path)
    path.write_text(ASAP.format(group="None"))
    with pytest.raises(AnnotationError, match="a shape of no class.*Tumor, Other, Reviewed"):
        read_corrections(path)


def test_two_files_of_one_image_and_no_folder_are_one_line(store, tmp_path):
    with pytest.raises(DatasetError, match="no such folder; correct patches or slides with"):
        list_correction_files(store.folder)
    store.add("s", 0, "tumour", SQUARE)
    (store.folder / "s.xml").write_text(ASAP.format(group="Tumor"))
    with pytest.raises(DatasetError, match="corrections of the same image"):
        list_correction_files(store.folder)


def test_a_damaged_file_is_named(store):
    store.add("s", 0, "tumour", SQUARE)
    path = store.folder / "s.geojson"
    content = read_json(path)
    del content["features"][0]["properties"]["action"]
    path.write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match="s.geojson: damaged"):
        store.load("s")
    path.write_text(path.read_text()[:100])
    with pytest.raises(AnnotationError, match="not well-formed JSON"):
        read_corrections(path)
