from collections import Counter
from pathlib import Path

import pytest

from epsam.core.errors import DatasetError
from epsam.core.files import read_table
from epsam.extraction.slide_labels import read_labels
from epsam.extraction.splits import (
    normalize_slide_name,
    patient_of,
    read_exclusions,
    read_splits,
    split_by_ratio,
)

TABLES = Path(__file__).resolve().parents[2] / "dataset"
RATIO = (0.7, 0.1, 0.2)


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("tumor_1", "tumor_001"),
        ("Tumor_061", "tumor_061"),
        ("normal_86", "normal_086"),
        ("test_0049", "test_049"),
        ("patient_24_node_1", "patient_024_node_1"),
        ("patient_024_node_01", "patient_024_node_1"),
        ("tumor_1b", "tumor_1b"),
        ("061", "061"),
        ("my tumor_1", "my tumor_1"),
    ],
)
def test_names_get_camelyons_zeros_and_are_compared_whole(stem, name):
    assert normalize_slide_name(stem) == name


def test_patients_are_recognized_in_names_of_camelyon17_and_tcga():
    assert patient_of("patient_017_node_4") == patient_of("patient_017_node_1")
    assert patient_of("TCGA-A1-A0SK-01Z-00-DX1") == "TCGA-A1-A0SK"
    assert patient_of("tumor_017") == "tumor_017"


def test_the_authors_table_has_their_counts():
    counts = {
        name: Counter(read_splits(TABLES / "splits_published.csv", name).values())
        for name in ("camelyon16", "camelyon17")
    }
    assert counts["camelyon16"] == {"train": 47, "val": 6, "test": 15}
    assert counts["camelyon17"] == {"train": 27, "val": 3, "test": 9}


def test_ids_of_the_tables_are_full_slide_names():
    for table in ("splits_published.csv", "splits_patient.csv"):
        for name, prefix in (("camelyon16", "tumor_"), ("camelyon17", "patient_")):
            slides = read_splits(TABLES / table, name)
            assert slides
            assert all(
                slide == normalize_slide_name(slide) and slide.startswith(prefix)
                for slide in slides
            )


@pytest.mark.parametrize("dataset", ["camelyon16", "camelyon17"])
def test_no_patient_is_in_two_splits_of_the_patient_table(dataset):
    published = read_splits(TABLES / "splits_published.csv", dataset)
    per_patient = read_splits(TABLES / "splits_patient.csv", dataset)
    splits = {patient_of(slide): set() for slide in per_patient}
    for slide, split in per_patient.items():
        splits[patient_of(slide)].add(split)
    assert all(len(patient_splits) == 1 for patient_splits in splits.values())
    assert per_patient.keys() == published.keys()


def test_the_patient_table_moves_four_slides():
    """Patients 015 (train and val) and 017, 046 (train and test) go to the later split
    (docs/deviations.md, "Patients across splits").
    """
    published = read_splits(TABLES / "splits_published.csv", "camelyon17")
    per_patient = read_splits(TABLES / "splits_patient.csv", "camelyon17")
    assert {slide: split for slide, split in per_patient.items() if published[slide] != split} == {
        "patient_015_node_1": "val",
        "patient_017_node_1": "test",
        "patient_017_node_4": "test",
        "patient_046_node_4": "test",
    }


def test_no_slide_is_twice_in_a_table():
    for table in ("splits_published.csv", "splits_patient.csv"):
        rows = read_table(TABLES / table, ("dataset", "slide", "split"))
        assert len({(row["dataset"], row["slide"]) for row in rows}) == len(rows) == 107


def test_exclusions_of_camelyon():
    exclusions = read_exclusions(TABLES / "camelyon_exclusions.csv", "camelyon16")
    assert {slide for slide, (action, _) in exclusions.items() if action == "drop"} == {
        "normal_086",
        "test_049",
        "test_114",
    }
    assert exclusions["normal_144"][0] == "check"
    assert all(reason for _, reason in exclusions.values())
    assert read_exclusions(TABLES / "camelyon_exclusions.csv", "mine") == {}


def write(tmp_path, text):
    path = tmp_path / "splits.csv"
    path.write_text(text)
    return path


def test_a_users_table(tmp_path):
    table = write(tmp_path, "slide,split,label\ntumor_1,train,\nb,val,normal\nc,test,partial\n")
    assert read_splits(table) == {"tumor_001": "train", "b": "val", "c": "test"}
    assert read_labels(table) == {"b": "normal", "c": "partial"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slide,split\na,training\n", "line 2: split 'training'"),
        ("slide,split\na,train\nb,val\na,test\n", "line 4: a is in train and in test"),
        ("slide\na\n", "no column split"),
    ],
)
def test_errors_in_a_table_name_the_line(tmp_path, text, message):
    with pytest.raises(DatasetError, match=message):
        read_splits(write(tmp_path, text))


def test_an_unknown_label_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="line 2: label 'benign'"):
        read_labels(write(tmp_path, "slide,label\na,benign\n"))


@pytest.mark.parametrize("count", [3, 4, 5, 10, 37])
def test_every_split_gets_annotated_slides(count):
    is_annotated = {f"s{n}": True for n in range(count)} | {f"n{n}": False for n in range(4)}
    splits = split_by_ratio(is_annotated, RATIO, 22)
    assert splits.keys() == is_annotated.keys()
    assert {splits[slide] for slide in is_annotated if is_annotated[slide]} == {
        "train",
        "val",
        "test",
    }


def test_split_sizes_follow_the_ratio():
    splits = split_by_ratio({f"s{n}": True for n in range(100)}, RATIO, 22)
    assert Counter(splits.values()) == {"train": 70, "val": 10, "test": 20}


def test_normal_slides_fill_splits_without_annotated_slides():
    splits = split_by_ratio({"a": True, "b": True, "n": False}, RATIO, 22)
    assert sorted(splits.values()) == ["test", "train", "val"]
    assert splits["n"] == "test"


def test_fewer_slides_than_splits_are_no_error():
    assert list(split_by_ratio({"a": True}, RATIO, 22).values()) == ["train"]
    assert split_by_ratio({}, RATIO, 22) == {}


def test_a_split_with_fraction_zero_stays_empty():
    assert (
        "val" not in split_by_ratio({f"s{n}": True for n in range(9)}, (0.5, 0.0, 0.5), 22).values()
    )


def test_slides_of_a_patient_stay_together():
    is_annotated = {
        f"patient_{n:03d}_node_{node}": node == 1 for n in range(12) for node in range(4)
    }
    splits = split_by_ratio(is_annotated, RATIO, 22)
    assert len({(patient_of(slide), split) for slide, split in splits.items()}) == 12


def test_ratio_depends_on_seed_and_names_not_on_order():
    is_annotated = {f"s{n}": n % 2 == 0 for n in range(20)}
    backwards = dict(reversed(is_annotated.items()))
    assert split_by_ratio(is_annotated, RATIO, 22) == split_by_ratio(backwards, RATIO, 22)
    assert split_by_ratio(is_annotated, RATIO, 22) != split_by_ratio(is_annotated, RATIO, 23)


@pytest.mark.parametrize("ratio", [(0, 0, 0), (1, -0.5, 0.5)])
def test_a_ratio_without_positive_fractions_is_refused(ratio):
    with pytest.raises(DatasetError, match="split_ratio"):
        split_by_ratio({"a": True}, ratio, 22)
