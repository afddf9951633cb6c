"""What counts as a slide, as an image, and as ground truth."""

import numpy as np
import pytest
import tifffile

from epsam.core.errors import DatasetError
from epsam.data.images import write_mask
from epsam.inference.inputs import contains_slides, find_images, find_slides, has_ground_truth
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
    (tmp_path / evidence).parent.mkdir(exist_ok=True)
    write_mask(tmp_path / "one.png", np.ones((4, 4), bool))
    (tmp_path / "one.png").rename(tmp_path / evidence)
    assert [image.label for image in find_images(tmp_path)] == [0, 1]


def test_predictions_beside_images_make_no_split(tmp_path):
    for folder in ("image", "mask"):
        write_mask(tmp_path / folder / "tile_0.png", np.ones((4, 4), bool))
    (tmp_path / ".finished.jsonl").touch()
    (image,) = find_images(tmp_path)
    assert (image.label, image.mask) == (None, None)
