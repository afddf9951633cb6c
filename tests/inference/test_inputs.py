"""What counts as a slide, as an image, and as ground truth."""

import pytest
import tifffile

from epsam.core.errors import DatasetError
from epsam.inference.inputs import contains_slides, find_slides, has_ground_truth
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
