"""Which slides may give negatives: nothing is taken for normal because nothing is drawn on it."""

from pathlib import Path

import pytest

from epsam.core.errors import DatasetError
from epsam.core.files import read_table
from epsam.extraction.slide_labels import (
    SlideLabel,
    SlideLabels,
    load_slide_labels,
    read_label_rules,
)
from extract_patches import main
from support.slide_dataset import (
    make_dataset,
    options_for,
    statuses,
    write_annotations,
    write_slide,
)
from support.tables import read_rows

TABLES = Path(__file__).resolve().parents[2] / "dataset"
PARTIAL_CAMELYON16 = [
    "010",
    "015",
    "018",
    "020",
    "025",
    "029",
    "033",
    "034",
    "044",
    "046",
    "051",
    "054",
    "055",
    "056",
    "067",
    "079",
    "085",
    "092",
    "095",
    "110",
]
DOT, LINE = [(70, 70)], [(70, 70), (90, 90), (130, 130)]
BOX = [(210, 210), (280, 210), (280, 300), (210, 300)]


@pytest.fixture
def dataset(tmp_path):
    root = make_dataset(tmp_path / "mine")
    write_slide(root / "images" / "d.tif")
    (root / "splits.csv").write_text("slide,split\na,train\nb,val\nc,test\nd,train\n")
    return root


def negatives(root, slide):
    rows = [row for row in read_rows(root / "patches.csv") if row["slide"] == slide]
    return {(int(row["x"]), int(row["y"])) for row in rows if row["label"] == "0"}


@pytest.mark.parametrize(
    ("group", "corners", "reason"),
    [
        ("Tumor", DOT, "1 dots or lines"),
        ("Tumor", LINE, "1 dots or lines"),
        ("normal", BOX, "1 holes"),
        ("None", BOX, "1 outlines without a group"),
        ("Tumor", [], "1 dots or lines"),
    ],
)
def test_annotations_without_tumour_area_fail_the_slide(dataset, group, corners, reason):
    write_annotations(dataset / "annotations" / "d.xml", group, corners)
    main(options_for(dataset))
    status, message = statuses(dataset)["d"]
    assert status == "failed"
    assert "no tumour area" in message
    assert reason in message
    assert not negatives(dataset, "d")


def test_a_file_without_any_annotation_fails_the_slide_unless_a_table_says_normal(dataset):
    (dataset / "annotations" / "d.xml").write_text("<ASAP_Annotations/>")
    main(options_for(dataset))
    assert statuses(dataset)["d"][0] == "failed"
    (dataset / "slide_labels.csv").write_text("slide,label\nd,normal\n")
    main(options_for(dataset, replace=True))
    assert statuses(dataset)["d"] == ("used", "")
    assert negatives(dataset, "d")


def test_tiles_under_an_outline_without_a_group_are_no_negatives(dataset):
    write_annotations(dataset / "annotations" / "d.xml")
    main(options_for(dataset))
    before = negatives(dataset, "d")
    path = dataset / "annotations" / "d.xml"
    corners = "".join(f'<Coordinate X="{x}" Y="{y}"/>' for x, y in BOX)
    extra = f'<Annotation PartOfGroup="None"><Coordinates>{corners}</Coordinates></Annotation>'
    path.write_text(path.read_text().replace("</Annotations>", f"{extra}</Annotations>"))
    main(options_for(dataset, replace=True))
    under = {(x, y) for x, y in before if x + 64 > 210 and x < 280 and y + 64 > 210 and y < 300}
    assert under
    assert negatives(dataset, "d") == before - under
    assert "1 outlines without a group" in statuses(dataset)["d"][1]


def test_a_name_says_normal_only_where_the_datasets_table_says_so(dataset, tmp_path):
    write_slide(dataset / "images" / "normal_002.tif")
    (dataset / "splits.csv").write_text("slide,split\na,train\nb,val\nc,test\nnormal_002,val\n")
    main(options_for(dataset))
    assert "not known to be normal" in statuses(dataset)["normal_002"][1]
    for name in ("camelyon16", "demo"):
        rules = read_label_rules(TABLES, name)
        assert SlideLabels({}, rules).find("normal_002").label == "normal"
    assert read_label_rules(TABLES, "mine") == []


def test_camelyon16s_partly_outlined_slides_are_partial_and_no_others():
    rows = read_table(TABLES / "slide_labels.csv", ("dataset", "slide", "label", "reason"))
    labels = SlideLabels({}, read_label_rules(TABLES, "camelyon16"))
    assert [row["slide"][6:] for row in rows if row["label"] == "partial"] == PARTIAL_CAMELYON16
    partial = [n for n in range(1, 112) if labels.find(f"tumor_{n:03d}").label == "partial"]
    assert [f"{n:03d}" for n in partial] == PARTIAL_CAMELYON16
    assert all(row["reason"] for row in rows)


def test_camelyon16s_normal_slides_give_negatives_and_its_partial_ones_none(tmp_path):
    root = tmp_path / "camelyon16"
    # By the built-in table, 001 and 010 are in train, 013 in val, 003 in test.
    for number in ("001", "010", "013", "003"):
        write_slide(root / "images" / f"tumor_{number}.tif")
        write_annotations(root / "annotations" / f"tumor_{number}.xml", group="_0")
    for number in range(1, 11):
        write_slide(root / "images" / f"normal_{number:03d}.tif")
    main(options_for(root, max_negative=(0, 0, 0)))
    outcomes = statuses(root)
    assert {status for status, _ in outcomes.values()} == {"used"}
    assert not negatives(root, "tumor_010")
    assert negatives(root, "tumor_001")
    splits = {row["slide"]: row["split"] for row in read_rows(root / "slides.csv")}
    normal = [split for slide, split in splits.items() if slide.startswith("normal")]
    # 7, 1 and 2 of 10: the default ratio.
    assert [normal.count(split) for split in ("train", "val", "test")] == [7, 1, 2]
    assert all(negatives(root, slide) for slide in splits if slide.startswith("normal"))


def test_a_users_label_wins_over_the_rule_and_two_tables_may_not_differ(tmp_path):
    rules = [("tumor_*", SlideLabel("partial", "x"))]
    (tmp_path / "slide_labels.csv").write_text("slide,label\ntumor_1,normal\n")
    labels = load_slide_labels(tmp_path, rules)
    assert labels.find("tumor_001") == SlideLabel("normal", "by slide_labels.csv")
    assert labels.find("tumor_002").label == "partial"
    assert labels.find("other") == SlideLabel()
    (tmp_path / "splits.csv").write_text("slide,split,label\ntumor_001,train,partial\n")
    with pytest.raises(DatasetError, match=r"tumor_001 is normal, but partial by splits\.csv"):
        load_slide_labels(tmp_path)
