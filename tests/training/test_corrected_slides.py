"""Corrected slides outside of the dataset become training patches of one run, and none that is of
val or test, or of a case there.
"""

import numpy as np
import pytest

from epsam.core.errors import SlideError
from epsam.core.files import read_json, read_table
from epsam.corrections.store import CorrectionStore
from epsam.data.images import read_mask_values, read_rgb
from epsam.data.patches import Patch
from epsam.paths import DatasetPaths, RunPaths
from epsam.training import reviewed_windows
from epsam.training.corrected_slides import extract_corrected_slides
from epsam.training.corrected_sources import find_outside_files, sort_files
from support.corrected import options_with_corrections, rectangle
from support.slide_dataset import write_slide


@pytest.fixture
def options(tmp_path):
    return options_with_corrections(tmp_path, "slides")


@pytest.fixture
def store(tmp_path):
    return CorrectionStore(tmp_path / "corrections")


def files(store):
    return sorted(store.folder.glob("*.geojson"))


def sort(options, store):
    outside = find_outside_files(options.correction_slides)
    return sort_files(files(store), outside, DatasetPaths.of(options))


def extract(options, store, train=(), side=64):
    return extract_corrected_slides(options, sort(options, store).slides, train, side)


def test_windows_with_a_reviewed_area_are_patches_with_the_label_of_what_was_drawn(
    options, store, tmp_path
):
    pixels = write_slide(tmp_path / "slides" / "new.tif")
    # Tumour in columns 0 to 96 of the first row of windows, none below it; of the window to the
    # right, 3 of 64 columns, which is less than 5 %.
    store.add("new", 0, "tumour", rectangle(0, 0, 131, 64))
    store.add("new", 1, "normal", rectangle(96, 0, 131, 64))
    store.add("new", 2, "normal", rectangle(0, 64, 64, 128))
    patches = extract(options, store)
    names = [patch.name for patch in patches.patches]
    assert names == ["new_x0_y0_1", "new_x0_y64_0", "new_x64_y0_1"]
    assert [patch.label for patch in patches.patches] == [1, 0, 1]

    half = patches.targets["new_x64_y0_1"]
    values = read_mask_values(half)
    assert (values[:, :32] == 255).all()
    assert (values[:, 32:] == 128).all()
    np.testing.assert_array_equal(read_rgb(patches.patches[2].image), pixels[:64, 64:128])

    rows = read_table(RunPaths.of(options).corrected_slides / "patches.csv", ("id", "tumour"))
    assert [(row["slide"], row["split"], row["tumour"]) for row in rows] == [
        ("new", "train", "1.0000"),
        ("new", "train", "0.5000"),
        ("new", "train", "0.0000"),
    ]
    assert list(read_json(RunPaths.of(options).record)["corrected_slides"]["inputs"]) == ["new"]


def test_patches_are_extracted_once_and_again_after_another_correction(options, store, tmp_path):
    write_slide(tmp_path / "slides" / "new.tif")
    store.add("new", 0, "tumour", rectangle(0, 0, 64, 64))
    image = extract(options, store).patches[0].image
    written = image.stat().st_mtime_ns
    assert extract(options, store).patches[0].image.stat().st_mtime_ns == written
    store.add("new", 1, "tumour", rectangle(128, 0, 192, 64))
    assert [patch.name for patch in extract(options, store).patches] == [
        "new_x0_y0_1",
        "new_x128_y0_1",
    ]


def test_glass_without_tumour_is_no_patch_and_too_many_windows_are_thinned_out(
    options, store, tmp_path, monkeypatch
):
    write_slide(tmp_path / "slides" / "new.tif")
    # Windows at 0, 64, … 320; the last two columns of the slide's 384 px are glass from 288 on.
    store.add("new", 0, "reviewed", rectangle(0, 0, 384, 64))
    names = [patch.name for patch in extract(options, store).patches]
    assert names == [f"new_x{left}_y0_0" for left in (0, 128, 192, 256, 64)]
    monkeypatch.setattr(reviewed_windows, "MAX_PATCHES", 3)
    store.add("new", 1, "reviewed", rectangle(0, 0, 384, 64))
    names = [patch.name for patch in extract(options, store).patches]
    assert names == ["new_x0_y0_0", "new_x128_y0_0", "new_x256_y0_0"]


def test_patches_have_the_pixel_size_of_the_dataset(options, store, tmp_path):
    write_slide(tmp_path / "slides" / "new.tif", mpp=0.5)
    store.add("new", 0, "tumour", rectangle(0, 0, 128, 128))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "patches.csv").write_text("id,label,mpp\np,1,1.0\n")
    train = [Patch("p_1", 1, tmp_path / "p_1.png", None)]
    (patch,) = extract(options, store, train).patches
    # 64 px of 1 µm are 128 px of 0.5 µm.
    assert patch.read().shape == (64, 64, 3)
    row = read_table(RunPaths.of(options).corrected_slides / "patches.csv", ("size",))[0]
    assert row["size"] == "128"

    write_slide(tmp_path / "slides" / "new.tif", mpp=0)
    with pytest.raises(SlideError, match="no pixel size in the file, which patches of 1 µm/px"):
        extract(options, store, train)


def test_slides_of_val_and_test_their_cases_and_their_copies_are_never_learnt_from(
    options, store, tmp_path
):
    data = tmp_path / "d"
    write_slide(data / "images" / "seen.tif")
    for name in (
        *("new", "seen", "quiet", "scored", "listed", "unplaced"),
        *("patient_003_node_2", "patient_004_node_1", "case7"),
    ):
        write_slide(tmp_path / "slides" / f"{name}.tif")
    # Under another name.
    (tmp_path / "slides" / "renamed.tif").write_bytes((data / "images" / "seen.tif").read_bytes())
    (data / "patches.csv").write_text(
        "id,slide,split,label,case\na,scored,val,1,\nb,other,test,1,case7\nc,mine,train,1,case8\n"
    )
    (data / "slides.csv").write_text("slide,split,status\nquiet,test,used\nseen,test,used\n")
    (data / "splits.csv").write_text("slide,split\nlisted,val\npatient_003_node_0,test\n")
    for path in (tmp_path / "slides").iterdir():
        store.add(path.stem, 0, "tumour", rectangle(0, 0, 64, 64))
    store.add("nowhere", 0, "tumour", rectangle(0, 0, 64, 64))

    by_use = sort(options, store)
    learnt = sorted(slide.name for slide in by_use.slides)
    assert learnt == ["new", "patient_004_node_1", "unplaced"]
    held_out = {path.stem for path in by_use.held_out}
    assert held_out == {
        *("seen", "renamed", "quiet", "scored", "listed"),
        *("patient_003_node_2", "case7"),
    }
    assert [path.stem for path in by_use.unmatched] == ["nowhere"]
