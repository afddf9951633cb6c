"""EBHI's folders become a data set of patches, by case."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from epsam.core.errors import DatasetError
from epsam.core.files import read_table
from epsam.data.images import read_mask, write_rgb
from epsam.data.patches import list_labelled_patches
from epsam.fetch import ebhi

TABLE = Path(__file__).resolve().parents[2] / "dataset" / "splits_ebhi.csv"
PINK = np.full((8, 8, 3), (230, 170, 200), np.uint8)


def write_image(folder, name, label=None):
    write_rgb(folder / "image" / f"{name}.png", PINK)
    if label is not None:
        write_rgb(folder / "label" / f"{name}.png", label)


@pytest.fixture
def source(tmp_path):
    """Two cases of tumour, one of them not listed, a normal one, a polyp and a class left out."""
    folder = tmp_path / "source" / "EBHI-SEG"
    tumour = np.zeros((8, 8, 3), np.uint8)
    tumour[2:4, 3:7] = 255
    write_image(folder / "Adenocarcinoma", "GT11-1-400-001", tumour)
    write_image(folder / "Adenocarcinoma", "GTxc12-1-400-001", tumour)
    write_image(folder / "Normal", "GTDC13-1-400-001", np.full((8, 8, 3), 255, np.uint8))
    write_image(folder / "Polyp", "GTXC14-1-400-001")
    write_image(folder / "Serrated adenoma", "GT11-1-400-002")
    return tmp_path / "source"


@pytest.fixture
def splits(tmp_path):
    table = tmp_path / "splits.csv"
    table.write_text("case,split\n11,train\n13,train\n14,test\n")
    return table


def test_listed_cases_of_three_classes_become_patches(source, splits, tmp_path):
    counts = ebhi.convert_ebhi(source, tmp_path / "ebhi", splits)
    assert counts == {"train": 2, "test": 1, "unused": 1}

    tumour, normal = list_labelled_patches(tmp_path / "ebhi" / "train")
    assert (tumour.name, tumour.label) == ("adeno-GT11-1-400-001_1", 1)
    assert (normal.name, normal.label) == ("normal-GTDC13-1-400-001_0", 0)
    # The glands of a normal patch are labelled in the set, but are no tumour.
    assert normal.mask is None
    assert np.argwhere(read_mask(tumour.mask)).tolist() == [
        [row, column] for row in (2, 3) for column in (3, 4, 5, 6)
    ]


def test_the_case_of_each_patch_is_written_beside_them(source, splits, tmp_path):
    ebhi.convert_ebhi(source, tmp_path / "ebhi", splits)
    ebhi.write_patch_table(tmp_path / "ebhi")
    rows = read_table(tmp_path / "ebhi" / "patches.csv", ("id", "label", "case", "split"))
    assert [tuple(row.values()) for row in rows] == [
        ("adeno-GT11-1-400-001", "1", "11", "train"),
        ("normal-GTDC13-1-400-001", "0", "13", "train"),
        ("polyp-GTXC14-1-400-001", "0", "14", "test"),
    ]


def test_a_tumour_without_its_mask_is_an_error(source, splits, tmp_path):
    (source / "EBHI-SEG" / "Adenocarcinoma" / "label" / "GT11-1-400-001.png").unlink()
    with pytest.raises(DatasetError, match=r"GT11-1-400-001\.png: no .* in .*label; unpack again"):
        ebhi.convert_ebhi(source, tmp_path / "ebhi", splits)


def test_a_folder_without_the_classes_says_what_is_expected(splits, tmp_path):
    (tmp_path / "source").mkdir()
    with pytest.raises(DatasetError, match="no folder adenocarcinoma/image below it"):
        ebhi.convert_ebhi(tmp_path / "source", tmp_path / "ebhi", splits)


def test_unlisted_cases_alone_are_an_error(source, splits, tmp_path):
    splits.write_text("case,split\n99,train\n")
    with pytest.raises(DatasetError, match="none of its 4 images is of a case of splits.csv"):
        ebhi.convert_ebhi(source, tmp_path / "ebhi", splits)


def test_an_archive_appears_unpacked_whole(source, tmp_path):
    archive = tmp_path / "ebhi.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.write(TABLE, "EBHI-SEG/a.txt")
    ebhi.unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "EBHI-SEG" / "a.txt").read_bytes() == TABLE.read_bytes()

    archive.write_bytes(archive.read_bytes()[:-20])
    with pytest.raises(DatasetError, match="unpack it by hand into"):
        ebhi.unpack(archive, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_no_case_of_the_tracked_table_is_in_two_splits():
    rows = read_table(TABLE, ("case", "split"))
    assert len({row["case"] for row in rows}) == len(rows) == 192
    assert {row["split"] for row in rows} == {"train", "val", "test"}
