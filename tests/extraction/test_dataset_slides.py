from pathlib import Path

import pytest

from epsam.core.errors import DatasetError
from epsam.extraction.splits import read_splits
from extract_patches import main
from support.slide_dataset import (
    make_dataset,
    options_for,
    statuses,
    write_annotations,
    write_slide,
)
from support.tables import read_rows

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "mine")


def test_unused_slides_are_listed_and_never_negatives(dataset, caplog):
    for name in ("unknown", "normal_1", "sound", "later"):
        write_slide(dataset / "elsewhere" / f"{name}.tif")
    (dataset / "images" / "deeper").symlink_to(dataset / "elsewhere")
    write_annotations(dataset / "annotations" / "lonely.xml")
    (dataset / "images" / "notes.txt").write_text("x")
    (dataset / "splits.csv").write_text(
        "slide,split,label\na,train,\nb,val,\nc,test,partial\nunknown,train,\n"
        "normal_1,train,normal\nsound,test,normal\nabsent,train,\n"
    )
    with caplog.at_level("INFO"):
        main(options_for(dataset))
    outcomes = statuses(dataset)
    assert {name: status for name, (status, _) in outcomes.items()} == {
        "a": "used",
        "b": "used",
        "c": "used",
        "normal_001": "used",
        "sound": "used",
        "unknown": "unused",
        "later": "unused",
        "lonely": "unused",
    }
    assert "not known to be normal" in outcomes["unknown"][1]
    assert "outlines without a slide" in outcomes["lonely"][1]
    rows = read_rows(dataset / "patches.csv")
    assert not [row for row in rows if row["slide"] == "c" and row["label"] == "0"]
    assert [row for row in rows if row["slide"] == "sound" and row["label"] == "0"]
    assert "ignored files: 1 .txt" in caplog.text
    assert "absent" in caplog.text


def test_two_slides_of_the_same_name_fail(dataset):
    write_slide(dataset / "images" / "again" / "a.tif")
    write_slide(dataset / "images" / "d.tif")
    write_annotations(dataset / "annotations" / "d.xml")
    (dataset / "splits.csv").write_text("slide,split\na,train\nb,val\nc,test\nd,train\n")
    main(options_for(dataset))
    assert statuses(dataset)["a"][0] == "failed"
    assert "2 slides of this name" in statuses(dataset)["a"][1]


def test_a_missing_folder_and_a_folder_without_slides_are_errors(tmp_path):
    root = tmp_path / "mine"
    with pytest.raises(DatasetError, match="images: no such folder"):
        main(options_for(root))
    (root / "images").mkdir(parents=True)
    (root / "images" / "a.png").write_bytes(b"x")
    (root / "images" / "b.png").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"no slide; found 2 \.png"):
        main(options_for(root))


def test_a_missing_public_data_set_can_be_fetched(tmp_path):
    with pytest.raises(DatasetError, match=r"or fetch it: python src/get_data\.py ebhi$"):
        main(options_for(tmp_path / "ebhi"))


def test_a_dataset_without_a_table_is_split_by_ratio_without_overlap(dataset):
    (dataset / "splits.csv").unlink()
    main(options_for(dataset))
    rows = read_rows(dataset / "slides.csv")
    assert sorted(row["split"] for row in rows) == ["test", "train", "val"]


def test_camelyon_slides_follow_the_projects_tables(tmp_path):
    root = tmp_path / "camelyon17"
    listed = read_splits(ROOT / "dataset" / "splits_patient.csv", "camelyon17")
    slides = {
        "patient_015_node_1": "val",
        "patient_017_node_1": "test",
        "patient_024_node_1": "train",
    }
    assert slides.items() <= listed.items()
    for slide in (*slides, "patient_099_node_1"):
        write_slide(root / "images" / f"{slide}.tif")
        write_annotations(root / "annotations" / f"{slide}.xml", group="metastases")
    main(options_for(root))
    outcomes = {
        row["slide"]: (row["status"], row["split"]) for row in read_rows(root / "slides.csv")
    }
    assert outcomes.pop("patient_099_node_1") == ("unused", "")
    assert outcomes == {slide: ("used", split) for slide, split in slides.items()}


@pytest.mark.parametrize(
    ("flags", "splits"),
    [
        ({}, {"015": {"val"}, "017": {"test"}, "046": {"test"}}),
        (
            {"split": "authors"},
            {"015": {"train", "val"}, "017": {"train", "test"}, "046": {"train", "test"}},
        ),
    ],
    ids=["default", "authors"],
)
def test_patients_whose_slides_the_authors_split_are_in_one_split_by_default(
    tmp_path, flags, splits
):
    root = tmp_path / "camelyon17"
    for slide in (
        "015_node_1",
        "015_node_2",
        "017_node_1",
        "017_node_2",
        "046_node_3",
        "046_node_4",
        "024_node_1",
    ):
        write_slide(root / "images" / f"patient_{slide}.tif")
        write_annotations(root / "annotations" / f"patient_{slide}.xml", group="metastases")
    main(options_for(root, **flags))
    splits_by_patient = {}
    for row in read_rows(root / "patches.csv"):
        splits_by_patient.setdefault(row["slide"].split("_")[1], set()).add(row["split"])
    assert splits_by_patient == {**splits, "024": {"train"}}


def test_excluded_camelyon_slides_are_listed_with_the_reason(tmp_path):
    root = tmp_path / "camelyon16"
    for slide in ("tumor_1", "tumor_013", "tumor_003"):
        write_slide(root / "images" / f"{slide}.tif")
        write_annotations(root / "annotations" / f"{slide}.xml", group="_0")
    for slide in ("normal_86", "normal_144"):
        write_slide(root / "images" / f"{slide}.tif")
    (root / "splits.csv").write_text(
        "slide,split\ntumor_001,train\ntumor_013,val\ntumor_003,test\nnormal_086,train\n"
        "normal_144,train\n"
    )
    main(options_for(root))
    outcomes = statuses(root)
    assert outcomes["tumor_001"] == ("used", "")
    assert outcomes["normal_086"][0] == "excluded"
    assert "tumor_111" in outcomes["normal_086"][1]
    assert outcomes["normal_144"][0] == "used"
    assert outcomes["normal_144"][1].startswith("check: ")
