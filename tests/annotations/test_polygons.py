import numpy as np
import pytest

from epsam.annotations.polygons import Annotations, rasterize_tumour


def box(left, top, right, bottom):
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=float)


def is_inside_by_rays(points, x, y):
    """Even-odd rule for one point, edge by edge."""
    is_inside = False
    for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if (y1 <= y) != (y2 <= y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            is_inside = not is_inside
    return is_inside


def test_a_box_covers_exactly_its_pixels():
    mask = rasterize_tumour(Annotations([box(2, 1, 7, 4)]), 0, 0, 10, 6)
    expected = np.zeros((6, 10), dtype=bool)
    expected[1:4, 2:7] = True
    assert np.array_equal(mask, expected)


def test_neighbouring_boxes_have_no_pixel_in_common():
    left = rasterize_tumour(Annotations([box(0, 0, 4.3, 8)]), 0, 0, 9, 8)
    right = rasterize_tumour(Annotations([box(4.3, 0, 9, 8)]), 0, 0, 9, 8)
    assert not (left & right).any()
    assert (left | right).all()


def test_overlapping_tumour_polygons_are_united():
    assert (
        rasterize_tumour(Annotations([box(0, 0, 6, 6), box(3, 3, 9, 9)]), 0, 0, 9, 9).sum()
        == 36 + 36 - 9
    )


@pytest.mark.parametrize(
    ("left", "top", "downsample"), [(0, 0, 1.0), (-5.5, 7.25, 1.0), (3, 2, 2.0), (0, 0, 2.7)]
)
def test_ragged_polygons_match_the_ray_rule_at_pixel_centres(left, top, downsample):
    rng = np.random.default_rng(1)
    points = rng.uniform(-10, 45, (17, 2))
    mask = rasterize_tumour(Annotations([points]), left, top, 23, 31, downsample)
    for row in range(31):
        for column in range(23):
            x, y = left + (column + 0.5) * downsample, top + (row + 0.5) * downsample
            assert mask[row, column] == is_inside_by_rays(points, x, y)


def test_a_region_equals_the_same_slice_of_the_full_mask():
    points = np.random.default_rng(2).uniform(0, 60, (9, 2))
    full = rasterize_tumour(Annotations([points], [box(20, 20, 30, 50)]), 0, 0, 60, 60)
    assert np.array_equal(
        rasterize_tumour(Annotations([points], [box(20, 20, 30, 50)]), 13, 31, 40, 20),
        full[31:51, 13:53],
    )


def test_polygons_beside_the_region_leave_it_empty():
    for shape in (
        box(50, 0, 60, 10),
        box(0, 50, 10, 60),
        box(-20, -20, -1, -1),
        box(3.1, 3.1, 3.2, 3.2),
    ):
        assert not rasterize_tumour(Annotations([shape]), 0, 0, 20, 20).any()
