import numpy as np
import pytest

from epsam.inference.tiling import Tiling


@pytest.mark.parametrize(("height", "width"), [(8, 8), (20, 13), (8, 30), (3, 5), (5, 40)])
def test_every_pixel_lies_in_a_tile_and_equal_tiles_blend_to_themselves(height, width):
    tiling = Tiling.over(height, width, 8, 0.25)
    maps = np.full((len(tiling.corners_xy), 8, 8), 0.7, np.float32)
    assert tiling.blend(maps).shape == (height, width)
    assert np.allclose(tiling.blend(maps), 0.7)


def test_an_image_of_one_tiles_size_is_one_tile():
    assert Tiling.over(8, 8, 8, 0.5).corners_xy == [(0, 0)]


def test_corners_are_x_y_and_the_last_tile_ends_with_the_image():
    assert Tiling.over(8, 19, 8, 0.25).corners_xy == [(0, 0), (6, 0), (11, 0)]


def test_cropping_and_blending_gives_the_image_back():
    image = np.random.default_rng(0).integers(0, 255, (21, 30, 3), np.uint8)
    tiling = Tiling.over(21, 30, 8, 0.5)
    maps = np.stack([tile[..., 0] for tile in tiling.crop_tiles(image)]).astype(np.float32)
    assert np.allclose(tiling.blend(maps), image[..., 0], atol=1e-3)


def test_a_small_image_is_continued_by_reflection_and_cropped_back():
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    tile = Tiling.over(4, 6, 8, 0.25).crop_tiles(image)[0]
    assert tile.shape == (8, 8, 3)
    assert np.array_equal(tile[:4, :6], image)
    assert np.array_equal(tile[4, :6], image[3])


def test_a_tiles_middle_outweighs_its_edge():
    tiling = Tiling.over(8, 12, 8, 0.5)
    blended = tiling.blend(np.stack([np.zeros((8, 8)), np.ones((8, 8))]).astype(np.float32))
    assert blended[4, 4] < 0.5 < blended[4, 7]
