from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from epsam.core.errors import ImageError
from epsam.data.images import (
    list_images,
    read_mask,
    read_rgb,
    resize_mask,
    silence,
    write_mask,
    write_rgb,
)


def test_colours_survive_the_disk_and_red_stays_red(tmp_path):
    image = np.zeros((4, 6, 3), np.uint8)
    image[..., 0] = 200
    image[1, 2] = (1, 2, 3)
    write_rgb(tmp_path / "a b.png", image)
    assert np.array_equal(read_rgb(tmp_path / "a b.png"), image)
    # OpenCV reads BGR. Had red and blue been swapped on disk (docs/deviations.md, "RGB"), this
    # would be channel 0.
    assert cv2.imread(str(tmp_path / "a b.png"))[0, 0].tolist() == [0, 0, 200]


def test_masks_are_0_and_255_on_disk_and_0_and_1_files_are_read_too(tmp_path):
    mask = np.array([[True, False], [False, True]])
    write_mask(tmp_path / "m.png", mask)
    assert cv2.imread(str(tmp_path / "m.png"), cv2.IMREAD_UNCHANGED).tolist() == [
        [255, 0],
        [0, 255],
    ]
    assert np.array_equal(read_mask(tmp_path / "m.png"), mask)
    cv2.imwrite(str(tmp_path / "ones.png"), mask.astype(np.uint8))
    assert np.array_equal(read_mask(tmp_path / "ones.png"), mask)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.full((3, 3), 7, np.uint8), [7, 7, 7]),
        (np.full((3, 3, 4), (1, 2, 3, 99), np.uint8), [3, 2, 1]),
        (np.full((3, 3, 3), 0x1234, np.uint16), [0x12, 0x12, 0x12]),
    ],
    ids=["grey", "alpha", "16 bit"],
)
def test_other_pixel_formats_become_rgb(tmp_path, pixels, expected):
    cv2.imwrite(str(tmp_path / "p.png"), pixels)
    assert read_rgb(tmp_path / "p.png")[0, 0].tolist() == expected


@pytest.mark.parametrize(
    "content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"], ids=["empty", "text", "header only"]
)
def test_a_broken_file_is_named(tmp_path, content):
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(ImageError, match="broken.png"):
        read_rgb(tmp_path / "broken.png")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ImageError, match="nowhere.png"):
        read_rgb(tmp_path / "nowhere.png")


def test_listing_is_sorted_and_leaves_other_files_out(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png", "c.tif"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in list_images(tmp_path)] == ["a.JPG", "b.png", "c.tif"]
    assert list_images(tmp_path / "absent") == []


def test_masks_are_resized_without_new_values():
    grown = resize_mask(np.array([[True, False]]), 2, 4)
    assert grown.tolist() == [[True, True, False, False]] * 2


def test_opencv_is_silenced_wherever_its_version_has_the_function():
    levels = []
    logging = SimpleNamespace(setLogLevel=levels.append)
    silence(SimpleNamespace(setLogLevel=levels.append, utils=SimpleNamespace()))
    silence(SimpleNamespace(utils=SimpleNamespace(logging=logging)))
    assert levels == [0, 0]
