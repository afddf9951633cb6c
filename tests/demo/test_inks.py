import cv2
import numpy as np
import pytest

from demo.inks import _Grains, _Ground, render_with_inks
from epsam.core.seeding import generator

ROUND = _Grains(
    radius=4, spread=0, elongation=1, spacing=16, inside=(1, 1), rim=0, spots=0, aligned=1
)


def halves(side: int = 96) -> np.ndarray:
    regions = np.zeros((side, side), np.uint8)
    regions[:, side // 2 :] = 1
    return regions


@pytest.mark.parametrize("index", range(8))
def test_an_image_is_finite_and_within_the_range_of_a_camera(index):
    image = render_with_inks(halves(), generator(1, index))
    assert image.shape == (96, 96, 3)
    assert image.dtype == np.float32
    assert np.isfinite(image).all()
    assert image.min() >= 0
    assert image.max() <= 255


def test_an_image_depends_on_its_generator_alone():
    first, again, other = (render_with_inks(halves(), generator(2, index)) for index in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_grains_keep_to_their_region_by_their_centres_and_are_not_cut():
    where = np.zeros((96, 96), np.float32)
    where[:, :48] = 1
    crossed = 0
    for index in range(10):
        ink = ROUND.paint(where, generator(3, index))
        # A centre at column 47 reaches 4 px further, bending and blur some more.
        assert ink[:, 60:].max() == 0
        crossed += ink[:, 48:].max() > 0.5
    assert crossed > 0


def test_without_a_place_there_are_no_grains():
    assert ROUND.paint(np.zeros((32, 32), np.float32), generator(4)).max() == 0


def test_larger_grains_make_larger_spots():
    def mean_area(radius: float) -> float:
        grains = _Grains(radius, 0, 1, 30, (1, 1), 0, 0, 1)
        ink = grains.paint(np.ones((240, 240), np.float32), generator(5))
        _, _, stats, _ = cv2.connectedComponentsWithStats((ink > 0.5).astype(np.uint8))
        return float(np.median(stats[1:, cv2.CC_STAT_AREA]))

    # Area goes with the square of the radius: four times, give or take pixels and bending.
    assert 3 < mean_area(8) / mean_area(4) < 5


@pytest.mark.parametrize("pattern", ["cloud", "fibres", "cracked"])
def test_a_ground_has_its_amounts_on_average_and_never_less_than_none(pattern):
    amounts = _Ground((0.2, 0.6), 0.1, pattern).paint((128, 128), generator(6))
    assert amounts.shape == (2, 128, 128)
    assert amounts.min() >= 0
    # Cracks take ink away; the other patterns only move it.
    least = 0.5 if pattern == "cracked" else 0.85
    assert least * 0.2 < amounts[0].mean() < 0.23
    assert least * 0.6 < amounts[1].mean() < 0.69
