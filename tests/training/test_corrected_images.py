"""Corrected plain images outside of the dataset become training patches of one run, and none that
is of a case in val or test, or has a name that the dataset has already.
"""

import numpy as np
import pytest
import tifffile

from epsam.core.errors import DatasetError, ImageError, SlideError
from epsam.corrections.store import CorrectionStore
from epsam.data import images
from epsam.data.images import read_mask_values, read_rgb, write_rgb
from epsam.data.patches import Patch, list_split_patches
from epsam.paths import DatasetPaths
from epsam.training.corrected_slides import extract_corrected_slides
from epsam.training.corrected_sources import find_outside_files, require_other_names, sort_files
from support.corrected import options_with_corrections, rectangle
from support.slide_dataset import write_slide


def write_image(path, height=64, width=64, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(100, 200, (height, width, 3)).astype(np.uint8)
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="rgb", metadata=None)
    else:
        write_rgb(path, pixels)
    return pixels


@pytest.fixture
def options(tmp_path):
    return options_with_corrections(tmp_path, "photos")


@pytest.fixture
def photos(tmp_path):
    return tmp_path / "photos"


@pytest.fixture
def store(tmp_path):
    return CorrectionStore(tmp_path / "corrections")


def sort(options, store):
    files = sorted(store.folder.glob("*.geojson"))
    outside = find_outside_files(options.correction_slides)
    return sort_files(files, outside, DatasetPaths.of(options))


def extract(options, store, train=()):
    return extract_corrected_slides(options, sort(options, store).slides, train, side=64)


def test_windows_reach_the_border_and_need_no_tissue(options, photos, store):
    # Columns 0 to 63 and 64 to 127, and the last 64 of 150: 86 to 149.
    pixels = write_image(photos / "field.png", 64, 150)
    store.add("field", 0, "tumour", rectangle(140, 0, 150, 64))
    # White glass, all of which was looked at.
    write_rgb(photos / "white.png", np.full((64, 64, 3), 250, np.uint8))
    store.add("white", 0, "reviewed", rectangle(0, 0, 64, 64))
    patches = extract(options, store)
    assert [patch.name for patch in patches.patches] == ["field_x86_y0_1", "white_x0_y0_0"]
    np.testing.assert_array_equal(read_rgb(patches.patches[0].image), pixels[:, 86:])
    values = read_mask_values(patches.targets["field_x86_y0_1"])
    assert (values[:, 54:] == 255).all()
    assert (values[:, :54] == 0).all()
    assert (read_mask_values(patches.targets["white_x0_y0_0"]) == 128).all()


def test_images_are_named_as_in_the_page_of_results(options, photos, store):
    for place in ("day1/a.png", "image/b.png", "1/c.png", "mask/d.png"):
        write_image(photos / place)
    for name in ("day1-a", "b", "1-c_1", "d"):
        store.add(name, 0, "tumour", rectangle(0, 0, 64, 64))
    # Beside a folder image/ nothing else is segmented; its names have no folder.
    assert [slide.name for slide in sort(options, store).slides] == ["b"]
    (photos / "image" / "b.png").unlink()
    (photos / "image").rmdir()
    # Results may have the label of a folder at the end. Masks are no images.
    sorted_files = sort(options, store)
    names = [(slide.name, slide.path.name) for slide in sorted_files.slides]
    assert names == [("1-c_1", "c.png"), ("day1-a", "a.png")]
    assert [path.stem for path in sorted_files.unmatched] == ["b", "d"]


def test_a_tiff_is_an_image_unless_it_is_stored_as_slides_are(options, photos, store):
    write_image(photos / "plain.tif")
    write_slide(photos / "slide.tif")
    # A thumbnail beside its slide.
    write_image(photos / "slide.png")
    for name in ("plain", "slide"):
        store.add(name, 0, "tumour", rectangle(0, 0, 64, 64))
    kinds = [(slide.path.name, slide.is_image) for slide in sort(options, store).slides]
    assert kinds == [("plain.tif", True), ("slide.tif", False)]
    assert [patch.name for patch in extract(options, store).patches] == [
        "plain_x0_y0_1",
        "slide_x0_y0_1",
    ]


def test_an_image_of_no_pixel_size_is_taken_for_one_of_the_patches(options, photos, store):
    data = DatasetPaths.of(options).root
    data.mkdir()
    (data / "patches.csv").write_text("id,label,mpp\np,1,1.0\n")
    train = [Patch("p_1", 1, data / "p_1.png", None)]
    write_image(photos / "a.png", 64, 64)
    # 0.5 µm/px: 64 px of 1 µm are 128 of its px.
    pixels = np.random.default_rng(1).integers(100, 200, (128, 128, 3)).astype(np.uint8)
    tifffile.imwrite(
        photos / "b.tif",
        pixels,
        photometric="rgb",
        metadata=None,
        resolution=(20_000, 20_000),
        resolutionunit="CENTIMETER",
    )
    for name in ("a", "b"):
        store.add(name, 0, "tumour", rectangle(0, 0, 128, 128))
    patches = extract(options, store, train).patches
    assert [patch.name for patch in patches] == ["a_x0_y0_1", "b_x0_y0_1"]
    assert all(patch.read().shape == (64, 64, 3) for patch in patches)


def test_an_image_that_is_too_small_or_too_large_is_one_line(options, photos, store, monkeypatch):
    write_image(photos / "a.png", 63, 200)
    store.add("a", 0, "tumour", rectangle(0, 0, 50, 50))
    with pytest.raises(SlideError, match=r"a.png: 200×63 px is smaller than a patch of 64 px; rem"):
        extract(options, store)
    monkeypatch.setattr(images, "LARGEST_PX", 63 * 200 - 1)
    with pytest.raises(ImageError, match=r"a.png: 200×63 px, more than is read at once; cut it up"):
        extract(options, store)


def test_images_of_cases_in_val_and_test_and_copies_of_patches_there_are_never_learnt_from(
    options, photos, store
):
    data = DatasetPaths.of(options).root
    seen = write_image(data / "val" / "image" / "q_1.png", seed=5)
    (data / "patches.csv").write_text(
        "id,slide,split,label,case\na,,val,1,2001837\nb,tumor_3,test,1,c7\nc,s9,train,1,3004444\n"
    )
    for name in (
        *("adeno-GT2001837-1-400", "adeno-GT12001837-1", "adeno-GT3004444-1"),
        *("tumor_003_x0_y0_1", "tumor_0031_x0_y0_1", "c7_field", "x-c7", "c77_field"),
    ):
        write_image(photos / f"{name}.png")
    write_rgb(photos / "renamed.png", seen)
    for path in photos.iterdir():
        store.add(path.stem, 0, "tumour", rectangle(0, 0, 64, 64))
    by_use = sort(options, store)
    assert {path.stem for path in by_use.held_out} == {
        *("adeno-GT2001837-1-400", "tumor_003_x0_y0_1", "c7_field", "renamed"),
    }
    assert {slide.name for slide in by_use.slides} == {
        *("adeno-GT12001837-1", "adeno-GT3004444-1", "tumor_0031_x0_y0_1", "x-c7", "c77_field"),
    }


def test_a_name_that_the_dataset_has_already_is_one_line(options, photos, store):
    data = DatasetPaths.of(options).root
    pixels = write_image(data / "train" / "image" / "p_1.png")
    patches = list_split_patches(data / "train")
    store.add("p_1", 0, "tumour", rectangle(0, 0, 64, 64))

    def check(slides=frozenset()):
        outside = find_outside_files(options.correction_slides)
        require_other_names(store.folder, outside, patches, slides)

    # A copy is the patch itself.
    photos.mkdir()
    write_rgb(photos / "p_1.png", pixels)
    check()
    write_image(photos / "p_1.png", seed=3)
    with pytest.raises(
        DatasetError, match=r"photos/p_1.png: has the name of .*train/image/p_1.png, wh"
    ):
        check()
    (photos / "p_1.png").unlink()
    write_image(photos / "s.png")
    store.add("s", 0, "tumour", rectangle(0, 0, 64, 64))
    check()
    with pytest.raises(
        DatasetError, match=r"s.png: has the name of slide s, which is of the dataset"
    ):
        check({"s"})


def test_two_images_of_one_name_and_no_folder_are_one_line(options, photos, store):
    write_image(photos / "a.png")
    write_image(photos / "a.jpg")
    store.add("b", 0, "tumour", rectangle(0, 0, 64, 64))
    # Nobody has corrected them.
    assert len(sort(options, store).unmatched) == 1
    store.add("a", 0, "tumour", rectangle(0, 0, 64, 64))
    with pytest.raises(DatasetError, match=r"a.jpg: a.png has the same name, so that nobody can"):
        sort(options, store)
    with pytest.raises(DatasetError, match="nowhere: no such folder of corrected slides"):
        find_outside_files("nowhere")
    (photos / "a.jpg").unlink()
    assert find_outside_files(str(photos / "a.png")).find_image("a") == photos / "a.png"
