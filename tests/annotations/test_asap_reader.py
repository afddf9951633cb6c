from pathlib import Path

import pytest

from epsam.annotations.asap_reader import read_annotations
from epsam.annotations.polygons import Annotations, rasterize_tumour
from epsam.core.errors import AnnotationError

REAL_XML = Path(__file__).resolve().parents[1] / "fixtures" / "xml"
SHARED_XML = Path(__file__).resolve().parents[3] / "shared" / "data" / "xml"
SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10)]


def asap(*shapes, groups=()):
    """ASAP XML of (group, corners) and (group, parent)."""
    annotations = "".join(
        f'<Annotation Name="a" Type="Polygon" PartOfGroup="{group}" Color="#F4FA58"><Coordinates>'
        + "".join(f'<Coordinate Order="{n}" X="{x}" Y="{y}" />' for n, (x, y) in enumerate(corners))
        + "</Coordinates></Annotation>"
        for group, corners in shapes
    )
    nested_groups = "".join(
        f'<Group Name="{name}" PartOfGroup="{parent}"><Attributes /></Group>'
        for name, parent in groups
    )
    return (
        f'<?xml version="1.0"?><ASAP_Annotations><Annotations>{annotations}</Annotations>'
        f"<AnnotationGroups>{nested_groups}</AnnotationGroups></ASAP_Annotations>"
    )


def read(tmp_path, content):
    path = tmp_path / "slide.xml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_annotations(path)


@pytest.mark.parametrize("group", ["metastases", "_0", "_1", "Tumor", "tumor"])
def test_tumour_groups_of_both_camelyon_sets(tmp_path, group):
    annotations = read(tmp_path, asap((group, SQUARE)))
    assert len(annotations.tumour) == 1
    assert annotations.tumour[0].tolist() == [list(corner) for corner in SQUARE]
    assert annotations.holes == []


@pytest.mark.parametrize("group", ["normal", "_2", "Exclusion", "None"])
def test_hole_groups_of_both_camelyon_sets(tmp_path, group):
    annotations = read(tmp_path, asap((group, SQUARE)))
    assert (len(annotations.tumour), len(annotations.holes)) == (0, 1)


def test_a_group_in_a_known_group_means_what_that_one_means(tmp_path):
    annotations = read(
        tmp_path,
        asap(
            ("nest 3", SQUARE),
            ("gap", SQUARE),
            groups=[
                ("nest 3", "nests"),
                ("nests", "metastases"),
                ("metastases", "None"),
                ("gap", "Exclusion"),
                ("Exclusion", "Tumor"),
                ("Tumor", "None"),
            ],
        ),
    )
    assert (len(annotations.tumour), len(annotations.holes)) == (1, 1)


@pytest.mark.parametrize(
    "groups", [[], [("benign", "None")], [("benign", "other"), ("other", "benign")]]
)
def test_an_unknown_group_is_an_error_that_names_the_groups_of_the_file(tmp_path, groups):
    with pytest.raises(
        AnnotationError, match=r"slide\.xml: unknown annotation group 'benign', 'stroma'"
    ):
        read(
            tmp_path, asap(("benign", SQUARE), ("stroma", SQUARE), ("Tumor", SQUARE), groups=groups)
        )


def test_shapes_without_area_are_dropped_and_counted(tmp_path):
    annotations = read(tmp_path, asap(("Tumor", SQUARE[:2]), ("Tumor", SQUARE), ("Tumor", [])))
    assert (len(annotations.tumour), annotations.n_dropped) == (1, 2)


def test_a_file_without_shapes_is_empty(tmp_path):
    annotations = read(tmp_path, asap())
    assert annotations == Annotations([], [], 0)
    assert not rasterize_tumour(annotations, 0, 0, 5, 5).any()


@pytest.mark.parametrize("x", ["nan", "inf", "-inf", "1e12", "", "left"])
def test_texts_that_are_no_coordinates_are_refused(tmp_path, x):
    with pytest.raises(AnnotationError, match=r"slide\.xml: annotation 1 has X="):
        read(tmp_path, asap(("Tumor", [(0, 0), (x, 1), (1, 1)])))


def test_a_decimal_comma_is_read(tmp_path):
    assert read(tmp_path, asap(("Tumor", [("1,5", 0), (4, 0), (4, 4)]))).tumour[0][0, 0] == 1.5


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<ASAP_Annotations>",
        b"not xml",
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="nonsense"?><ASAP_Annotations/>',
        b'<?xml version="1.0" encoding="utf-8"?><ASAP_Annotations Name="\xe9"/>',
    ],
)
def test_ill_formed_files_are_named(tmp_path, content):
    with pytest.raises(AnnotationError, match=r"slide\.xml: not well-formed"):
        read(tmp_path, content)


def test_xml_of_another_program_is_refused(tmp_path):
    with pytest.raises(AnnotationError, match="expected ASAP_Annotations"):
        read(tmp_path, "<Annotations/>")


def test_a_document_type_is_refused_before_its_entities_grow(tmp_path):
    bomb = (
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
        "<ASAP_Annotations>&b;</ASAP_Annotations>"
    )
    with pytest.raises(AnnotationError, match="DOCTYPE"):
        read(tmp_path, bomb)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AnnotationError, match=r"gone\.xml"):
        read_annotations(tmp_path / "gone.xml")


def test_holes_are_cleared_last_whatever_the_order_in_the_file(tmp_path):
    ring = [(2, 2), (6, 2), (6, 6), (2, 6)]
    for shapes in (
        (("normal", ring), ("metastases", SQUARE)),
        (("metastases", SQUARE), ("normal", ring)),
    ):
        mask = rasterize_tumour(read(tmp_path, asap(*shapes)), 0, 0, 12, 12)
        assert mask.sum() == 100 - 16
        assert not mask[2:6, 2:6].any()


def test_annotations_of_real_slides():
    counts = {}
    for name in ("patient_004_node_4", "tumor_083", "tumor_107"):
        annotations = read_annotations(REAL_XML / f"{name}.xml")
        counts[name] = (len(annotations.tumour), len(annotations.holes))
    assert counts == {
        "patient_004_node_4": (3, 0),
        "tumor_083": (2, 3),
        "tumor_107": (2, 3),
    }


@pytest.mark.skipif(
    not SHARED_XML.is_dir(), reason="../shared/data is absent: its files are no part of the project"
)
def test_annotations_of_real_slides_that_are_no_part_of_the_project():
    annotations = read_annotations(SHARED_XML / "tumor_110.xml")
    assert (len(annotations.tumour), len(annotations.holes)) == (21, 18)
    with pytest.raises(AnnotationError, match="'benign', 'metastases_org', 'newmeta'"):
        read_annotations(SHARED_XML / "bach_A01.xml")
