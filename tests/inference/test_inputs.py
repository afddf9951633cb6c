"""What counts as a slide, as an image, and as ground truth."""

import numpy as np
import pytest
import tifffile

from epsam.core.errors import DatasetError
from epsam.data.images import write_mask
from epsam.inference.inputs import (
    contains_slides,
    find_images,
    find_slides,
    has_ground_truth,
    is_for_slides,
)
from support.fake_tile_model import draw_slide, write_lossless_slide


def test_the_content_of_a_file_tells_slides_from_images(tmp_path):
    write_lossless_slide(tmp_path / "tiled" / "a.tif", draw_slide(40, 40, [], []))
    tifffile.imwrite(tmp_path / "a.tif", draw_slide(40, 40, [], []), photometric="rgb")
    assert contains_slides(tmp_path / "tiled")
    assert contains_slides(tmp_path / "a.tif")
    assert contains_slides(tmp_path), "folders below are searched too"
    (tmp_path / "plain").mkdir()
    (tmp_path / "a.tif").rename(tmp_path / "plain" / "a.tif")
    assert not contains_slides(tmp_path / "plain")
    (tmp_path / "tiled" / "image").mkdir()
    assert not contains_slides(tmp_path / "tiled")


def test_slides_of_a_dataset_have_ground_truth_and_earlier_results_are_no_slides(tmp_path):
    for name in ("images/tumor_1", "images/normal_002", "images/deeper/other", "images/out/x/mask"):
        write_lossless_slide(tmp_path / f"{name}.tif", draw_slide(40, 40, [], []))
    (tmp_path / "images" / "out" / "x" / "slide.json").touch()
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "tumor_001.xml").write_text("<ASAP_Annotations/>")
    (tmp_path / "slide_labels.csv").write_text("slide,label\nnormal_002,normal\n")
    records = find_slides(tmp_path)
    assert [(record.name, has_ground_truth(record)) for record in records] == [
        ("normal_002", True),
        ("other", False),
        ("tumor_001", True),
    ]
    single = find_slides(tmp_path / "images" / "tumor_1.tif")
    assert [(record.name, has_ground_truth(record)) for record in single] == [("tumor_001", True)]
    with pytest.raises(DatasetError, match="no slide in it"):
        find_slides(tmp_path / "images" / "out")


@pytest.mark.parametrize("layout", ["", "image"])
@pytest.mark.parametrize("evidence", ["mask/tile_1.png", "labels.csv", "patches.csv"])
def test_a_name_is_a_label_only_in_a_split_of_a_dataset(tmp_path, layout, evidence):
    for name in ("tile_0", "tile_1"):
        write_mask(tmp_path / layout / f"{name}.png", np.ones((4, 4), bool))
    assert [image.label for image in find_images(tmp_path)] == [None, None]
    assert [image.label for image in find_images(tmp_path, "names")] == [0, 1]
    if evidence.endswith(".csv"):
        (tmp_path / evidence).write_text("image,label\n")
    else:
        write_mask(tmp_path / evidence, np.ones((4, 4), bool))
    assert [image.label for image in find_images(tmp_path)] == [0, 1]


def test_predictions_beside_images_make_no_split(tmp_path):
    for folder in ("image", "mask"):
        write_mask(tmp_path / folder / "tile_0.png", np.ones((4, 4), bool))
    (tmp_path / ".finished.jsonl").touch()
    (image,) = find_images(tmp_path)
    assert (image.label, image.mask) == (None, None)


def test_images_in_folders_below_are_taken_and_results_and_masks_are_not(tmp_path):
    pixels = np.ones((4, 4), bool)
    for name in ("a.png", "case1/a.png", "case1/deep/b.png", ".hidden/c.png"):
        write_mask(tmp_path / name, pixels)
    # What an earlier version left in the folder of the images, and a folder of results in it.
    for name in ("mask/a.png", "overlay/a.png", "results/mask/a.png", "results/e.png"):
        write_mask(tmp_path / name, pixels)
    (tmp_path / ".finished.jsonl").touch()
    (tmp_path / "results" / ".results.json").write_text('{"stage": "infer"}')
    images = find_images(tmp_path)
    assert [image.name for image in images] == ["a", "case1-a", "case1-deep-b"]
    assert [image.file_name for image in images] == ["a.png", "case1-a.png", "case1-deep-b.png"]


def test_ground_truth_of_images_in_folders_below_lies_in_such_folders(tmp_path):
    for name in ("image/case1/a_1.png", "mask/case1/a_1.png", "image/a_1.png"):
        write_mask(tmp_path / name, np.ones((4, 4), bool))
    masks = {image.name: image.mask for image in find_images(tmp_path)}
    assert masks == {"a_1": None, "case1-a_1": tmp_path / "mask" / "case1" / "a_1.png"}


@pytest.mark.parametrize("layout", ["", "image"])
def test_a_split_is_labelled_by_its_table_as_for_training(tmp_path, layout):
    for name in ("x", "y_1"):
        write_mask(tmp_path / layout / f"{name}.png", np.ones((4, 4), bool))
    (tmp_path / "labels.csv").write_text("image,label\nx,1\n")
    labels = {image.name: image.label for image in find_images(tmp_path)}
    assert labels == {"x_1": 1, "y_1": 1}


def test_one_image_instead_of_a_folder_is_refused_with_the_reason(tmp_path):
    write_mask(tmp_path / "a.png", np.ones((4, 4), bool))
    with pytest.raises(DatasetError, match=r"a\.png: is one image; give the folder that holds it"):
        find_images(tmp_path / "a.png")


def test_images_beside_a_slide_are_named_and_as_decides(tmp_path, caplog):
    write_lossless_slide(tmp_path / "s.tif", draw_slide(64, 64, [], []))
    assert is_for_slides(tmp_path, "auto")
    assert caplog.text == ""
    for name in ("a.png", "b.png"):
        write_mask(tmp_path / name, np.ones((4, 4), bool))
    assert is_for_slides(tmp_path, "auto")
    assert "2 images in it are left out, such as a.png; --as images" in caplog.text
    assert not is_for_slides(tmp_path, "images")
    assert [image.name for image in find_images(tmp_path)] == ["a", "b", "s"]
    (tmp_path / "s.tif").unlink()
    assert not is_for_slides(tmp_path, "auto")
    assert is_for_slides(tmp_path, "slides")
