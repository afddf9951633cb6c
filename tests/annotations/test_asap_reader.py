from pathlib import Path

import numpy as np
import pytest

from epsam.annotations.asap_reader import read_annotations
from epsam.annotations.polygons import Annotations, rasterize_tumour
from epsam.core.errors import AnnotationError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10)]


def asap(*shapes, groups=()):
    """ASAP XML of (group, corners) and (group, parent)."""
    drawn = "".join(
        f'<Annotation Name="a" Type="Polygon" PartOfGroup="{group}" Color="#F4FA58"><Coordinates>'
        + "".join(f'<Coordinate Order="{n}" X="{x}" Y="{y}" />' for n, (x, y) in enumerate(corners))
        + "</Coordinates></Annotation>"
        for group, corners in shapes
    )
    named = "".join(
        f'<Group Name="{name}" PartOfGroup="{parent}"><Attributes /></Group>'
        for name, parent in groups
    )
    return (
        f'<?xml version="1.0"?><ASAP_Annotations><Annotations>{drawn}</Annotations>'
        f"<AnnotationGroups>{named}</AnnotationGroups></ASAP_Annotations>"
    )


def read(tmp_path, content):
    path = tmp_path / "slide.xml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_annotations(path)


def box(left, top, right, bottom):
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=float)


def inside_by_rays(points, x, y):
    """Even-odd rule for one point, edge by edge."""
    odd = False
    for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if (y1 <= y) != (y2 <= y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            odd = not odd
    return odd


@pytest.mark.parametrize("group", ["metastases", "_0", "_1", "Tumor", "tumor"])
def test_tumour_groups_of_both_camelyon_sets(tmp_path, group):
    outlines = read(tmp_path, asap((group, SQUARE)))
    assert len(outlines.tumour) == 1
    assert outlines.tumour[0].tolist() == [list(corner) for corner in SQUARE]
    assert outlines.holes == []


@pytest.mark.parametrize("group", ["normal", "_2", "Exclusion", "None"])
def test_hole_groups_of_both_camelyon_sets(tmp_path, group):
    outlines = read(tmp_path, asap((group, SQUARE)))
    assert (len(outlines.tumour), len(outlines.holes)) == (0, 1)


def test_a_group_in_a_known_group_means_what_that_one_means(tmp_path):
    outlines = read(
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
    assert (len(outlines.tumour), len(outlines.holes)) == (1, 1)


@pytest.mark.parametrize(
    "groups", [[], [("benign", "None")], [("benign", "other"), ("other", "benign")]]
)
def test_an_unknown_group_is_an_error_that_lists_what_was_found(tmp_path, groups):
    with pytest.raises(
        AnnotationError, match=r"slide\.xml: unknown annotation group 'benign', 'stroma'"
    ):
        read(
            tmp_path, asap(("benign", SQUARE), ("stroma", SQUARE), ("Tumor", SQUARE), groups=groups)
        )


def test_shapes_without_area_are_dropped_and_counted(tmp_path):
    outlines = read(tmp_path, asap(("Tumor", SQUARE[:2]), ("Tumor", SQUARE), ("Tumor", [])))
    assert (len(outlines.tumour), outlines.n_dropped) == (1, 2)


def test_a_file_without_shapes_is_empty(tmp_path):
    outlines = read(tmp_path, asap())
    assert outlines == Annotations([], [], 0)
    assert not rasterize_tumour(outlines, 0, 0, 5, 5).any()


@pytest.mark.parametrize("x", ["nan", "inf", "-inf", "1e12", "", "left"])
def test_coordinates_that_are_none_are_refused(tmp_path, x):
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
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><ASAP_Annotations>&b;</ASAP_Annotations>'
    with pytest.raises(AnnotationError, match="DOCTYPE"):
        read(tmp_path, bomb)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AnnotationError, match=r"gone\.xml"):
        read_annotations(tmp_path / "gone.xml")


def test_a_box_covers_exactly_its_pixels():
    mask = rasterize_tumour(Annotations([box(2, 1, 7, 4)]), 0, 0, 10, 6)
    expected = np.zeros((6, 10), dtype=bool)
    expected[1:4, 2:7] = True
    assert np.array_equal(mask, expected)


def test_neighbouring_boxes_share_no_pixel():
    left = rasterize_tumour(Annotations([box(0, 0, 4.3, 8)]), 0, 0, 9, 8)
    right = rasterize_tumour(Annotations([box(4.3, 0, 9, 8)]), 0, 0, 9, 8)
    assert not (left & right).any()
    assert (left | right).all()


def test_holes_are_cleared_last_whatever_the_order_in_the_file(tmp_path):
    ring = [(2, 2), (6, 2), (6, 6), (2, 6)]
    for shapes in (
        (("normal", ring), ("metastases", SQUARE)),
        (("metastases", SQUARE), ("normal", ring)),
    ):
        mask = rasterize_tumour(read(tmp_path, asap(*shapes)), 0, 0, 12, 12)
        assert mask.sum() == 100 - 16
        assert not mask[2:6, 2:6].any()


def test_overlapping_tumour_outlines_are_united():
    assert (
        rasterize_tumour(Annotations([box(0, 0, 6, 6), box(3, 3, 9, 9)]), 0, 0, 9, 9).sum()
        == 36 + 36 - 9
    )


@pytest.mark.parametrize(
    ("left", "top", "downsample"), [(0, 0, 1.0), (-5.5, 7.25, 1.0), (3, 2, 2.0), (0, 0, 2.7)]
)
def test_ragged_outlines_match_the_ray_rule_at_pixel_centres(left, top, downsample):
    rng = np.random.default_rng(1)
    points = rng.uniform(-10, 45, (17, 2))
    mask = rasterize_tumour(Annotations([points]), left, top, 23, 31, downsample)
    for row in range(31):
        for column in range(23):
            x, y = left + (column + 0.5) * downsample, top + (row + 0.5) * downsample
            assert mask[row, column] == inside_by_rays(points, x, y)


def test_a_window_is_the_same_part_of_the_whole_mask():
    points = np.random.default_rng(2).uniform(0, 60, (9, 2))
    whole = rasterize_tumour(Annotations([points], [box(20, 20, 30, 50)]), 0, 0, 60, 60)
    assert np.array_equal(
        rasterize_tumour(Annotations([points], [box(20, 20, 30, 50)]), 13, 31, 40, 20),
        whole[31:51, 13:53],
    )


def test_outlines_beside_the_window_leave_it_empty():
    for shape in (
        box(50, 0, 60, 10),
        box(0, 50, 10, 60),
        box(-20, -20, -1, -1),
        box(3.1, 3.1, 3.2, 3.2),
    ):
        assert not rasterize_tumour(Annotations([shape]), 0, 0, 20, 20).any()


@pytest.mark.skipif(not DATA.is_dir(), reason="no real outlines here")
def test_real_outlines():
    found = {
        path.stem: read_annotations(path)
        for path in (DATA / "xml").glob("*.xml")
        if path.stem != "bach_A01"
    }
    assert {name: (len(each.tumour), len(each.holes)) for name, each in found.items()} == {
        "patient_004_node_4": (3, 0),
        "tumor_083": (2, 3),
        "tumor_107": (2, 3),
        "tumor_110": (21, 18),
    }
    with pytest.raises(AnnotationError, match="'benign', 'metastases_org', 'newmeta'"):
        read_annotations(DATA / "xml" / "bach_A01.xml")
