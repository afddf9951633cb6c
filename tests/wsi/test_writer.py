"""The slide writer: levels, tags, colours and edges, read back with tifffile."""

import numpy as np
import pytest
import tifffile

from epsam.core.errors import SlideError
from epsam.wsi.writer import (
    PyramidFormat,
    halve_band,
    number_of_levels,
    split_bands,
    write_pyramid,
    write_slide,
)


def smooth_rgb(height, width):
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([120 + rows / 8, 200 - columns / 8, np.full(rows.shape, 90.0)], axis=2).astype(
        np.uint8
    )


def test_levels_halve_and_are_seen_as_one_pyramid(tmp_path):
    path = tmp_path / "slide.tif"
    write_slide(path, smooth_rgb(301, 421), 0.5, PyramidFormat(tile=64, levels=3))
    with tifffile.TiffFile(path) as tif:
        assert [level.shape for level in tif.series[0].levels] == [
            (301, 421, 3),
            (150, 210, 3),
            (75, 105, 3),
        ]
        assert [page.subfiletype for page in tif.pages] == [0, 1, 1]
        assert all(page.is_tiled and page.tile == (64, 64) for page in tif.pages)


def test_every_level_tells_its_pixel_size(tmp_path):
    path = tmp_path / "slide.tif"
    write_slide(path, smooth_rgb(128, 128), 0.25, PyramidFormat(tile=64))
    with tifffile.TiffFile(path) as tif:
        per_cm = [
            page.tags["XResolution"].value[0] / page.tags["XResolution"].value[1]
            for page in tif.pages
        ]
        assert [1e4 / value for value in per_cm] == pytest.approx([0.25, 0.5])
        assert all(page.tags["ResolutionUnit"].value == 3 for page in tif.pages)


def test_jpeg_keeps_the_colours(tmp_path):
    path = tmp_path / "slide.tif"
    image = np.empty((96, 130, 3), np.uint8)
    image[:] = (200, 60, 120)
    write_slide(path, image, 0.5, PyramidFormat(tile=64, levels=1, quality=90))
    assert np.abs(tifffile.imread(path).astype(int) - (200, 60, 120)).max() <= 4


def test_grey_deflate_is_lossless_and_masks_keep_their_two_values(tmp_path):
    path = tmp_path / "mask.tif"
    mask = (np.random.default_rng(0).random((75, 133)) < 0.5).astype(np.uint8) * 255
    write_slide(
        path, mask, 0.5, PyramidFormat(tile=32, compression="deflate", average=False, levels=2)
    )
    with tifffile.TiffFile(path) as tif:
        assert np.array_equal(tif.pages[0].asarray(), mask)
        assert np.array_equal(tif.pages[1].asarray(), mask[:74:2, :132:2])


def test_averaged_levels_are_means_of_four():
    band = np.array([[10, 20, 7], [30, 40, 7], [9, 9, 9]], np.uint8)
    assert halve_band(band, average=True).tolist() == [[25]]
    assert halve_band(band, average=False).tolist() == [[10]]


def test_reduced_levels_of_a_banded_slide_equal_the_whole_image_reduced(tmp_path):
    path = tmp_path / "slide.tif"
    image = np.random.default_rng(1).integers(0, 256, (101, 77), dtype=np.uint8)
    write_pyramid(
        path,
        split_bands(image, 16),
        image.shape,
        1.0,
        PyramidFormat(tile=16, compression="deflate", levels=2),
    )
    blocks = image[:100, :76].reshape(50, 2, 38, 2).mean(axis=(1, 3))
    with tifffile.TiffFile(path) as tif:
        assert np.abs(tif.pages[1].asarray() - blocks).max() <= 0.5


@pytest.mark.parametrize(
    ("shape", "n_levels", "expected"),
    [
        ((256, 256), 0, 1),
        ((257, 10), 0, 2),
        ((1536, 2048), 0, 4),
        ((1536, 2048), 2, 2),
        ((1, 5000), 0, 1),
        ((3, 5000), 9, 2),
    ],
)
def test_number_of_levels(shape, n_levels, expected):
    assert number_of_levels(shape, PyramidFormat(tile=256, levels=n_levels)) == expected


def test_missing_and_misshapen_bands_are_refused_and_leave_nothing_behind(tmp_path):
    image = np.zeros((64, 48), np.uint8)
    pyramid_format = PyramidFormat(tile=32, compression="deflate")
    with pytest.raises(SlideError, match="64 rows expected, found 32"):
        write_pyramid(tmp_path / "a.tif", [image[:32]], image.shape, 0.5, pyramid_format)
    with pytest.raises(SlideError, match="row 0"):
        write_pyramid(
            tmp_path / "b.tif", [image[:16], image[16:]], image.shape, 0.5, pyramid_format
        )
    assert list(tmp_path.iterdir()) == []
