import cv2
import numpy as np
import pytest

from demo.scenes import MAX_WRONG_FRACTION, Scene, draw_points, draw_scene
from epsam.core.seeding import generator


def disc(side: int = 64, radius: float = 16.0) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return (rows - 20) ** 2 + (columns - 40) ** 2 <= radius**2


def inside(target: np.ndarray, points: np.ndarray) -> np.ndarray:
    columns, rows = points.astype(int).T
    return target[rows, columns]


def test_a_scene_is_an_rgb_image_with_a_region_for_each_pixel():
    scene = draw_scene(1, "train", 0, side=96)
    assert scene.image.shape == (96, 96, 3)
    assert scene.image.dtype == np.uint8
    assert scene.regions.shape == (96, 96)
    assert 2 <= scene.regions.max() + 1 <= 4


def test_a_scene_depends_on_seed_purpose_and_index_alone():
    first = draw_scene(1, "train", 3, side=64)
    draw_scene(1, "train", 4, side=64)
    again = draw_scene(1, "train", 3, side=64)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.regions, again.regions)


@pytest.mark.parametrize("key", [(2, "train", 3), (1, "held out", 3), (1, "train", 4)])
def test_another_key_gives_another_scene(key):
    assert not np.array_equal(
        draw_scene(1, "train", 3, side=64).image, draw_scene(*key, side=64).image
    )


def test_every_scene_has_a_target():
    assert all(draw_scene(5, "train", index, side=64).targets() for index in range(30))


def test_tiny_and_nearly_full_regions_are_no_targets():
    regions = np.full((10, 10), 2, np.uint8)
    regions[0, 0] = 0  # 1 % of the area
    regions[1, :5] = 1  # 5 %, so that region 2 has 94 %
    assert Scene(np.zeros((10, 10, 3), np.uint8), regions).targets() == [1]


def test_regions_look_different_from_each_other():
    far_apart = 0
    for index in range(20):
        scene = draw_scene(7, "train", index, side=64)
        pixels = [scene.image[scene.regions == n].astype(float) for n in scene.targets()]
        statistics = np.array([[*p.mean(axis=0), *p.std(axis=0)] for p in pixels])
        far_apart += bool(len(pixels) > 1 and np.abs(statistics[0] - statistics[1]).max() > 10)
    assert far_apart >= 10


def test_points_have_the_stated_number_and_lie_in_the_frame():
    target = disc()
    for index in range(20):
        points = draw_points(target, generator(1, index), count=50)
        assert points.shape == (50, 2)
        assert points.dtype == np.float32
        assert (points >= 0).all()
        assert (points < 64).all()


def test_without_a_number_there_are_between_1_and_50_points():
    numbers = [len(draw_points(disc(), generator(2, index))) for index in range(100)]
    assert min(numbers) >= 1
    assert max(numbers) <= 50
    assert len(set(numbers)) > 20


def test_points_are_x_then_y():
    target = np.zeros((32, 48), bool)
    target[5, 30] = True  # row 5, column 30: the point (30, 5)
    points = draw_points(target, generator(3), count=1)
    assert points.tolist() == [[30.0, 5.0]]


def test_at_most_the_stated_fraction_of_points_is_wrong_and_some_prompts_have_such_points():
    fractions = [
        1 - inside(disc(), draw_points(disc(), generator(4, index), count=40)).mean()
        for index in range(60)
    ]
    assert max(fractions) <= MAX_WRONG_FRACTION
    assert sum(fraction > 0 for fraction in fractions) >= 10
    assert sum(fraction == 0 for fraction in fractions) >= 20


def test_a_target_that_fills_the_frame_has_no_wrong_points():
    full = np.ones((16, 16), bool)
    assert all(
        inside(full, draw_points(full, generator(5, index), count=50)).all() for index in range(10)
    )


def test_points_of_many_prompts_cover_the_target_evenly_on_average():
    target = np.zeros((64, 64), bool)
    target[:, 32:] = True
    points = np.concatenate(
        [draw_points(target, generator(6, index), count=50) for index in range(200)]
    )
    points = points[inside(target, points)]
    quarters = np.histogram(points[:, 1], bins=4, range=(0, 64))[0] / len(points)
    assert np.abs(quarters - 0.25).max() < 0.05


def test_scenes_in_two_inks_are_drawn_only_with_an_inked_fraction():
    plain, again, inked = (
        draw_scene(9, "train", 2, 96, fraction).image for fraction in (0.0, 0.0, 1.0)
    )
    assert np.array_equal(plain, again)
    assert not np.array_equal(plain, inked)


def test_in_two_inks_there_is_no_region_smaller_than_a_grain():
    for index in range(10):
        regions = draw_scene(11, "train", index, 128, inked_fraction=1.0).regions
        for number in range(regions.max() + 1):
            _, _, stats, _ = cv2.connectedComponentsWithStats((regions == number).astype(np.uint8))
            # The median filter is at least 13 px wide: what survives it fills half of such a window
            # somewhere.
            assert stats[1:, cv2.CC_STAT_AREA].max(initial=13 * 13) >= 13 * 13 // 2
