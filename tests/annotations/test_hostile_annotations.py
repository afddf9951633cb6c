"""Annotation files that are broken or meant to harm: each is an error that names the file, or a
mask.
"""

import math
import re

import numpy as np
import pytest
from hypothesis import strategies as some

from epsam.annotations.asap_reader import read_annotations
from epsam.annotations.polygons import Annotations, rasterize_tumour
from epsam.core.errors import AnnotationError
from support.fuzzing import damaged, fuzz, little_room
from support.mini import REPOSITORY


def asap(corners, group="Tumor"):
    coordinates = "".join(
        f'<Coordinate Order="{n}" X="{x}" Y="{y}" />' for n, (x, y) in enumerate(corners)
    )
    return (
        f'<ASAP_Annotations><Annotations><Annotation Name="a" PartOfGroup="{group}">'
        f"<Coordinates>{coordinates}</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )


def read(tmp_path, content):
    path = tmp_path / "s.xml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_annotations(path)


BOMB = (
    '<!DOCTYPE l [<!ENTITY l0 "lol">'
    + "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    + "]><ASAP_Annotations>&l9;</ASAP_Annotations>"
)


@pytest.mark.parametrize(
    "content",
    [
        BOMB,
        f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "{"a" * 100_000}">]>'
        f"<ASAP_Annotations>{'&x;' * 1000}</ASAP_Annotations>",
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><ASAP_Annotations>&x;</ASAP_Annotations>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "http://127.0.0.1:1/x">]><ASAP_Annotations>&x;</ASAP_Annotations>',
        '<!DOCTYPE a SYSTEM "file:///dev/zero"><ASAP_Annotations/>',
        '<!DOCTYPE a [<!ENTITY % x SYSTEM "file:///dev/zero"> %x;]><ASAP_Annotations/>',
    ],
    ids=[
        "a billion laughs",
        "quadratic",
        "local file",
        "network",
        "external type",
        "parameter entity",
    ],
)
def test_entities_are_refused_before_they_are_read(tmp_path, content):
    with pytest.raises(AnnotationError, match=r"s\.xml: has a DOCTYPE, which ASAP never writes"):
        read(tmp_path, content)


def test_an_entity_without_a_document_type_is_ill_formed(tmp_path):
    with pytest.raises(AnnotationError, match="not well-formed"):
        read(tmp_path, "<ASAP_Annotations>&x;</ASAP_Annotations>")


@pytest.mark.parametrize(
    "number",
    [
        "nan",
        "NaN",
        "inf",
        "-Infinity",
        "1e308",
        "1e999",
        "-10000001",
        "0x10",
        "1_0_0e9",
        "",
        " ",
        "١e9",
        "1;2",
        "&#0;",
    ],
)
def test_coordinates_that_no_slide_has_are_refused(tmp_path, number):
    with pytest.raises(AnnotationError, match=r"s\.xml: (annotation 1 has X=|not well-formed)"):
        read(tmp_path, asap([(0, 0), (number, 5), (5, 5)]))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1", "utf-8"])
def test_encodings_that_the_file_tells_are_read(tmp_path, encoding):
    name = {"utf-8-sig": "utf-8"}.get(encoding, encoding)
    text = f'<?xml version="1.0" encoding="{name}"?>' + asap([(0, 0), (4, 0), (4, 4)]).replace(
        '"a"', '"é"'
    )
    assert len(read(tmp_path, text.encode(encoding)).tumour) == 1


@pytest.mark.parametrize(
    ("stated", "real"),
    [("utf-8", "latin-1"), ("utf-16", "utf-8"), ("utf-7", "utf-8"), ("cp037", "utf-8")],
)
def test_encodings_that_the_file_lies_about_are_errors(tmp_path, stated, real):
    text = f'<?xml version="1.0" encoding="{stated}"?>' + asap([(0, 0), (4, 0), (4, 4)]).replace(
        '"a"', '"é"'
    )
    with pytest.raises(AnnotationError, match=r"s\.xml: (not well-formed|root )"):
        read(tmp_path, text.encode(real))


@pytest.mark.parametrize(
    ("corners", "pixels"),
    [
        ([(1, 1), (5, 1), (5, 5), (1, 5)], 16),
        ([(1, 1), (5, 1), (5, 5), (1, 5), (1, 1)], 16),
        ([(1, 1), (5, 5)], 0),
        ([(1, 1), (5, 5), (1, 1)], 0),
        ([(3, 3)] * 5, 0),
        # A bow tie: both triangles, 4 × 4 pixels each side of the crossing halved.
        ([(0, 0), (8, 8), (8, 0), (0, 8)], 32),
        # Twice around: the even-odd rule leaves nothing.
        ([(1, 1), (5, 1), (5, 5), (1, 5)] * 2, 0),
        ([(-1e7, -1e7), (1e7, -1e7), (1e7, 1e7), (-1e7, 1e7)], 100),
    ],
    ids=[
        "open",
        "closed",
        "two points",
        "there and back",
        "one place",
        "bow tie",
        "twice around",
        "enormous",
    ],
)
def test_odd_polygons_have_the_area_of_the_even_odd_rule(tmp_path, corners, pixels):
    mask = rasterize_tumour(read(tmp_path, asap(corners)), 0, 0, 10, 10)
    assert abs(int(mask.sum()) - pixels) <= (4 if pixels == 32 else 0)


def test_deep_nesting_and_very_many_groups_are_read(tmp_path):
    deep = "<a>" * 20_000 + "</a>" * 20_000
    chain = "".join(f'<Group Name="g{n}" PartOfGroup="g{n + 1}" />' for n in range(3000))
    text = asap([(0, 0), (4, 0), (4, 4)], "g0").replace(
        "</ASAP", f"{deep}{chain}<Group Name='g3000' PartOfGroup='Tumor'/></ASAP"
    )
    assert len(read(tmp_path, text).tumour) == 1


@pytest.mark.parametrize("group", ["", "\n", "../../etc", "-rf", "tumour\u202e", "A" * 10_000])
def test_odd_group_names_are_told_in_one_error(tmp_path, group):
    with pytest.raises(AnnotationError, match="unknown annotation group"):
        read(tmp_path, asap([(0, 0), (4, 0), (4, 4)], group.replace("\n", "&#10;")))


GOOD = asap([(1, 1), (500.5, 2), (300, 400), (20, 30)])
# Some builds of the libraries make a process round subnormal numbers to 0, which hypothesis takes
# for a broken machine.
NUMBER = some.one_of(
    some.floats(allow_subnormal=False).map(str),
    some.integers().map(str),
    some.sampled_from(["1,5", "", "1e7", "-0"]),
)
DRAWN = some.builds(
    lambda corners, group: asap(corners, group).encode(),
    some.lists(some.tuples(NUMBER, NUMBER), max_size=12),
    some.sampled_from(["Tumor", "Exclusion", "None", "_0", "other"]),
)


@pytest.mark.parametrize(
    ("contents", "examples"),
    [(damaged(GOOD.encode()), 300), (DRAWN, 150)],
    ids=["damaged", "drawn"],
)
def test_fuzzed_outlines_are_an_error_or_numbers(tmp_path, contents, examples):
    def attempt(content):
        try:
            annotations = read(tmp_path, content)
        except AnnotationError as error:
            return str(error)
        assert all(
            math.isfinite(x)
            for shape in annotations.tumour + annotations.holes
            for x in shape.ravel()
        )
        rasterize_tumour(annotations, 0, 0, 32, 32)
        return ""

    outcome = fuzz(contents, examples, attempt)
    assert outcome.read
    assert outcome.messages
    assert all("s.xml" in message for message in outcome.messages)


@pytest.mark.parametrize(
    "item", ["<Annotation/>", '<Group Name="{}"/>'], ids=["annotations", "groups"]
)
def test_more_items_than_anyone_draws_are_refused(tmp_path, monkeypatch, item):
    monkeypatch.setattr("epsam.annotations.asap_reader.MAX_ITEMS", 100)
    text = "<ASAP_Annotations>{}</ASAP_Annotations>"
    assert (
        read(tmp_path, text.format("".join(item.format(number) for number in range(100)))).tumour
        == []
    )
    with pytest.raises(AnnotationError, match=r"s\.xml: more than 100 annotations and groups"):
        read(tmp_path, text.format("".join(item.format(number) for number in range(102))))


def test_messages_stay_short_whatever_the_file_holds(tmp_path):
    for text in (
        asap([(0, 0), ("9" * 100_000, 5), (5, 5)]),
        asap([(0, 0), (4, 0), (4, 4)], "A" * 100_000),
    ):
        with pytest.raises(AnnotationError) as caught:
            read(tmp_path, text)
        assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_a_region_equals_the_same_slice_of_the_full_mask(tmp_path):
    annotations = read(tmp_path, asap(np.random.default_rng(1).uniform(-20, 120, (40, 2))))
    full = rasterize_tumour(annotations, 0, 0, 100, 100)
    for left, top, width, height in [
        (0, 0, 7, 9),
        (50, 30, 11, 20),
        (93, 91, 7, 9),
        (30, 0, 1, 100),
    ]:
        region = rasterize_tumour(annotations, left, top, width, height)
        assert np.array_equal(region, full[top : top + height, left : left + width])


def test_polygons_are_filled_in_parts_as_they_are_at_once(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    annotations = read(tmp_path, asap(rng.uniform(-20, 120, (500, 2))))
    full = rasterize_tumour(annotations, 0, 0, 100, 100)
    monkeypatch.setattr("epsam.annotations.polygons.MAX_CROSSINGS", 700)
    assert np.array_equal(rasterize_tumour(annotations, 0, 0, 100, 100), full)


def test_a_drawing_of_many_points_is_read(tmp_path):
    angles = np.linspace(0, 2 * np.pi, 50_000)
    annotations = read(
        tmp_path, asap(np.stack([1000 + 900 * np.cos(angles), 1000 + 900 * np.sin(angles)], 1))
    )
    area = rasterize_tumour(Annotations(annotations.tumour), 0, 0, 2000, 2000).sum()
    assert area == pytest.approx(math.pi * 900**2, rel=1e-4)


@pytest.mark.slow
@pytest.mark.long
def test_annotations_of_200_mb_are_read_or_refused_in_little_room(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    from large_annotations import CLOSE, empty_annotations, large_annotation, write

    for make, end in ((large_annotation, CLOSE), (empty_annotations, "")):
        write(tmp_path / f"{make.__name__}.xml", make(), end, 200_000_000)
    with little_room():
        (polygon,) = read_annotations(tmp_path / "large_annotation.xml").tumour
        with pytest.raises(AnnotationError, match="more than 1000000 annotations"):
            read_annotations(tmp_path / "empty_annotations.xml")
    # Its corners are numbered, and none is lost.
    text = (tmp_path / "large_annotation.xml").read_bytes()[-200:].decode()
    assert len(polygon) == int(re.findall(r'Order="(\d+)"', text)[-1]) + 1
