"""Labels of patches from names, folders and a table; masks that lie as their images do."""

import cv2
import numpy as np
import pytest

from epsam.core.errors import DatasetError, ImageError
from epsam.data.images import apply_exif_turn, read_mask, read_rgb, write_mask, write_rgb
from epsam.data.patches import list_labelled_patches

IMAGE = np.full((8, 8, 3), 200, np.uint8)


def write(split, *names):
    for name in names:
        write_rgb(split / "image" / name, IMAGE)


def labels(split):
    return {patch.name: patch.label for patch in list_labelled_patches(split)}


def test_folders_named_after_a_class_say_the_label(tmp_path):
    write(tmp_path, "Tumour/a.png", "normal/a.png", "1/b_0.png")
    write_mask(tmp_path / "mask" / "Tumour" / "a.png", np.eye(8) > 0)
    assert labels(tmp_path) == {"Tumour-a_1": 1, "normal-a_0": 0, "1-b_0_1": 1}
    masks = {patch.name: patch.mask for patch in list_labelled_patches(tmp_path)}
    assert masks["Tumour-a_1"] == tmp_path / "mask" / "Tumour" / "a.png"
    assert masks["normal-a_0"] is None


def test_other_folders_are_searched_and_become_part_of_the_name(tmp_path):
    write(tmp_path, "p_1.png", "case7/p_1.png", "case8/deep/p_0.png")
    write_mask(tmp_path / "mask" / "case7" / "p_1.png", np.eye(8) > 0)
    patches = {patch.name: patch for patch in list_labelled_patches(tmp_path)}
    assert sorted(patches) == ["case7-p_1", "case8-deep-p_0", "p_1"]
    assert patches["case7-p_1"].mask is not None
    assert patches["p_1"].mask is None


def test_a_table_says_the_label_and_wins_over_the_name(tmp_path):
    write(tmp_path, "x.png", "y_1.png", "sub/z.png", "w_1.png")
    (tmp_path / "labels.csv").write_text("image,label\nx,1\ny_1.png,0\nsub/z.png,normal\n")
    assert labels(tmp_path) == {"x_1": 1, "y_1_0": 0, "sub-z_0": 0, "w_1": 1}
    (tmp_path / "labels.csv").write_text("image,label\nx,2\n")
    with pytest.raises(DatasetError, match=r"labels\.csv line 2: label '2'"):
        labels(tmp_path)


def test_bmp_is_read_with_its_size(tmp_path):
    path = tmp_path / "image" / "a_1.bmp"
    path.parent.mkdir()
    image = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    cv2.imwrite(str(path), image[:, :, ::-1])
    assert np.array_equal(read_rgb(path), image)
    assert labels(tmp_path) == {"a_1": 1}


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_twelve_bits_of_sixteen_are_refused_and_sixteen_are_read(tmp_path, suffix):
    path = tmp_path / f"a_1.{suffix}"
    values = np.random.default_rng(0).integers(1000, 4096, (6, 6, 3)).astype(np.uint16)
    values[0, 0] = 4095
    cv2.imwrite(str(path), values)
    with pytest.raises(ImageError, match="12 or fewer"):
        read_rgb(path)
    cv2.imwrite(str(path), values * 16)
    assert read_rgb(path).max() > 200
    # Black is black, whatever its bits.
    cv2.imwrite(str(path), values * 0)
    assert not read_rgb(path).any()


def test_a_mask_of_sixteen_bits_and_ones_is_not_empty(tmp_path):
    cv2.imwrite(str(tmp_path / "m.png"), np.eye(6, dtype=np.uint16))
    assert np.array_equal(read_mask(tmp_path / "m.png"), np.eye(6) > 0)


def write_turned(path, image, orientation):
    """A JPEG whose EXIF states an orientation: one entry, tag 274, a short."""
    content = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01" + bytes([0, orientation, 0, 0])
    exif = b"Exif\0\0MM\x00*\x00\x00\x00\x08\x00\x01" + entry + b"\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content[:2] + segment + content[2:])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turn_in_exif_is_applied_to_image_and_mask_alike(tmp_path, orientation):
    stored = np.zeros((16, 16), bool)
    stored[:8, :4] = True
    image = np.repeat(np.where(stored, 255, 0).astype(np.uint8)[:, :, None], 3, axis=2)
    write_turned(tmp_path / "image" / "a_1.jpg", image, orientation)
    write_mask(tmp_path / "mask" / "a_1.png", stored)
    (patch,) = list_labelled_patches(tmp_path)
    shown = patch.read()[:, :, 0] > 127
    assert np.array_equal(patch.ground_truth(), shown)
    assert np.array_equal(apply_exif_turn(stored, orientation), shown)
    assert (orientation == 1) == np.array_equal(shown, stored)
