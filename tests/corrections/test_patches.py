"""Which corrections are of which patch, and that val and test are never learnt from."""

import numpy as np
import pytest

from epsam.core.errors import DatasetError
from epsam.corrections.patches import name_in_corrections, read_corrected_patches
from epsam.corrections.store import CorrectionStore
from support.corrected import rectangle

NAMES = {"train": ["a_1", "b_1", "both_1"], "val": ["v_1", "both_1"], "test": ["t_1"]}


@pytest.fixture
def store(tmp_path):
    return CorrectionStore(tmp_path / "corrections")


@pytest.fixture
def table(tmp_path):
    # Patches of 10 px, each of 20 level-0 pixels.
    (tmp_path / "patches.csv").write_text(
        "id,slide,split,label,x,y,size,mpp,tumour,tissue\n"
        "a,one,train,1,0,0,20,0.5,1,1\n"
        "b,one,train,1,20,0,20,0.5,1,1\n"
        "v,two,val,1,0,0,20,0.5,1,1\n"
    )
    return tmp_path / "patches.csv"


def test_a_file_of_a_patch_is_in_its_own_pixels(store, tmp_path):
    store.add("a_1", 0, "tumour", rectangle(0, 0, 3, 2))
    corrected = read_corrected_patches(store.folder, NAMES, tmp_path / "no.csv", 10)
    assert list(corrected.pixels) == ["a_1"]
    assert corrected.pixels["a_1"].tumour.sum() == 6


def test_a_file_of_a_slide_corrects_all_training_patches_that_it_touches(store, table):
    # Columns 16 to 24 of the slide: the last two of a, the first two of b; rows 0 to 10: five.
    store.add("one", 0, "tumour", rectangle(16, 0, 24, 10))
    pixels = read_corrected_patches(store.folder, NAMES, table, 10).pixels
    assert np.flatnonzero(pixels["a_1"].tumour.any(axis=0)).tolist() == [8, 9]
    assert np.flatnonzero(pixels["b_1"].tumour.any(axis=0)).tolist() == [0, 1]
    assert pixels["a_1"].reviewed.sum() == pixels["b_1"].reviewed.sum() == 10


def test_the_file_of_a_patch_goes_before_that_of_its_slide(store, table):
    store.add("one", 0, "tumour", rectangle(0, 0, 40, 20))
    store.add("a_1", 0, "normal", rectangle(0, 0, 1, 1))
    pixels = read_corrected_patches(store.folder, NAMES, table, 10).pixels
    assert pixels["a_1"].reviewed.sum() == 1
    assert pixels["b_1"].tumour.all()


def test_val_and_test_are_never_learnt_from_and_unknown_images_are_counted(store, table):
    for name in ("v_1", "t_1", "two", "stranger", "val/both_1"):
        store.add(name, 0, "tumour", rectangle(0, 0, 9, 9))
    corrected = read_corrected_patches(store.folder, NAMES, table, 10)
    assert corrected.pixels == {}
    names = sorted(path.stem for path in corrected.not_learnt)
    assert names == ["both_1", "t_1", "two", "v_1"]
    assert [path.stem for path in corrected.unmatched] == ["stranger"]


def test_a_name_in_several_splits_needs_a_folder_of_its_split(store, table):
    assert name_in_corrections("a_1", "train", ["train"]) == "a_1"
    name = name_in_corrections("both_1", "train", ["train", "val"])
    store.add(name, 0, "tumour", rectangle(0, 0, 2, 2))
    assert list(read_corrected_patches(store.folder, NAMES, table, 10).pixels) == ["both_1"]

    store.add("both_1", 0, "tumour", rectangle(0, 0, 2, 2))
    with pytest.raises(DatasetError, match="patches of that name are in train and val"):
        read_corrected_patches(store.folder, NAMES, table, 10)
