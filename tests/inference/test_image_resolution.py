import numpy as np
import pytest
import tifffile

from epsam.core.errors import DatasetError
from epsam.data.images import write_rgb
from epsam.inference.image_resolution import check_image_resolution
from epsam.inference.inputs import find_images

IMAGE = np.full((8, 8, 3), 200, np.uint8)
TRAINED_MPP = 0.25


def write_tiff(path, mpp):
    """A TIFF whose tags state pixels per centimetre."""
    per_cm = 10_000 / mpp
    tifffile.imwrite(
        path, IMAGE, photometric="rgb", resolution=(per_cm, per_cm), resolutionunit="CENTIMETER"
    )


def check(folder, mpp=0.0, trained_mpp=TRAINED_MPP):
    check_image_resolution(find_images(folder), folder, mpp, trained_mpp)


def test_images_of_twice_the_pixel_size_are_refused_unless_the_flag_says_otherwise(tmp_path):
    write_tiff(tmp_path / "a.tif", 0.25)
    write_tiff(tmp_path / "b.tif", 0.5)
    write_rgb(tmp_path / "c.png", IMAGE)
    message = r"b\.tif: 0\.5 µm/px, the run was trained at 0\.25; 1 of 3 images differ like this"
    with pytest.raises(DatasetError, match=message):
        check(tmp_path)
    check(tmp_path, mpp=0.25)
    # A decoder of the published code does not know its resolution.
    check(tmp_path, trained_mpp=None)
    with pytest.raises(DatasetError, match="3 of 3 images differ"):
        check(tmp_path, mpp=0.5)


def test_a_little_other_pixel_size_is_a_warning_and_none_or_a_screens_is_nothing(tmp_path, caplog):
    write_rgb(tmp_path / "c.png", IMAGE)
    write_tiff(tmp_path / "a.tif", 0.26)
    # 72 dpi, as image programs write.
    write_tiff(tmp_path / "d.tif", 352.8)
    check(tmp_path)
    assert caplog.text == ""
    write_tiff(tmp_path / "b.tif", 0.3)
    check(tmp_path)
    assert "b.tif: 0.3 µm/px, the run was trained at 0.25; 1 of 4 images" in caplog.text


def test_the_table_of_a_dataset_states_the_pixel_size_of_its_patches(tmp_path):
    for name in ("a_1", "b_0"):
        write_rgb(tmp_path / "test" / "image" / f"{name}.png", IMAGE)
    table = tmp_path / "patches.csv"
    table.write_text("id,label,mpp\na,1,0.25\nb,0,0.26\n")
    check(tmp_path / "test")
    table.write_text("id,label,mpp\na,1,0.25\nb,0,1.0\n")
    with pytest.raises(DatasetError, match=r"b_0\.png: 1 µm/px"):
        check(tmp_path / "test")
