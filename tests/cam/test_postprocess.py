"""Quantile, opening and upsampling against numbers by hand and brute force."""

import cv2
import numpy as np
import pytest
from skimage.filters import threshold_li

from epsam.cam.postprocess import (
    cam_to_mask,
    cam_to_probability,
    cross_entropy_threshold,
    fill_small_gaps,
    li_threshold,
    open_mask,
    threshold_and_open,
    upsample,
)
from epsam.config.masks import MaskRule
from epsam.core.errors import EpsamError


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def open_by_brute_force(mask, kernel):
    """The union of all k × k squares, anchored at a pixel of the image, whose part inside the image
    is all foreground.
    """
    height, width = mask.shape
    before = kernel // 2
    result = np.zeros_like(mask)
    for row in range(height):
        for column in range(width):
            top, left = row - before, column - before
            rows, columns = slice(max(top, 0), top + kernel), slice(max(left, 0), left + kernel)
            if mask[rows, columns].all():
                result[rows, columns] = True
    return result


@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(4))
def test_opening_is_the_union_of_the_squares_that_fit(kernel, seed):
    mask = noise(14, 17, seed=seed) < 0.85
    np.testing.assert_array_equal(open_mask(mask, kernel), open_by_brute_force(mask, kernel))


@pytest.mark.parametrize("kernel", [0, 1])
def test_kernel_below_2_opens_nothing(kernel):
    mask = noise(6, 6) < 0.5
    np.testing.assert_array_equal(open_mask(mask, kernel), mask)


def test_opening_never_adds_and_is_idempotent():
    for kernel in (2, 3, 4, 5):
        mask = noise(20, 20, seed=kernel) < 0.8
        opened = open_mask(mask, kernel)
        assert not (opened & ~mask).any()
        np.testing.assert_array_equal(open_mask(opened, kernel), opened)


def test_opening_keeps_a_full_image_and_removes_a_line():
    assert open_mask(np.ones((8, 8), bool), 5).all()
    line = np.zeros((8, 8), bool)
    line[3] = True
    assert not open_mask(line, 3).any()


def test_threshold_is_the_quantile_of_the_non_zero_values_and_counts_itself():
    cam_map = np.array([[0.0, 0.0, 0.2], [0.4, 0.6, 0.8], [0.0, 0.0, 1.0]], np.float32)
    # Non-zero: 0.2 0.4 0.6 0.8 1.0; their median is 0.6. With the zeros it would be 0.2.
    mask = threshold_and_open(cam_map, 3, 3, 0.5, 0, "cam")
    np.testing.assert_array_equal(
        mask, [[False, False, False], [False, True, True], [False, False, True]]
    )
    np.testing.assert_array_equal(threshold_and_open(cam_map, 3, 3, 0.5, 0, "image"), mask)


def cross_entropy(values, threshold):
    """Between positive values and the means of those below the threshold and of the others."""
    below, above = values[values < threshold], values[values >= threshold]
    means = np.where(values < threshold, below.mean(), above.mean())
    return (values * np.log(values / means)).sum()


@pytest.mark.parametrize("seed", range(4))
def test_no_threshold_has_a_smaller_cross_entropy_than_lis(seed):
    values = np.round(noise(6, 7, seed=seed) ** 2, 2).astype(np.float64) + 0.01
    threshold = cross_entropy_threshold(values)
    assert threshold in values
    least = min(cross_entropy(values, other) for other in np.unique(values)[1:])
    assert cross_entropy(values, threshold) == pytest.approx(least)


def test_lis_threshold_is_that_of_another_library():
    # Two well-parted heaps, where its iteration and the exact search end between the same values.
    values = np.concatenate([noise(200) * 0.3 + 0.05, noise(100, seed=1) * 0.3 + 0.6])
    other = threshold_li(values)
    assert (values >= cross_entropy_threshold(values)).sum() == (values > other).sum() == 100


def test_lis_threshold_parts_a_map_of_two_values_and_leaves_a_constant_one_whole():
    image, rule = np.zeros((4, 4, 3), np.uint8), MaskRule(postprocess="li", open_kernel=0)
    two = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0.4, 0.4, 0.4], [1, 1, 1, 1]], np.float32)
    np.testing.assert_array_equal(cam_to_mask(two, image, rule), two >= 0.4)
    assert cam_to_mask(np.full((4, 4), 0.3, np.float32), image, rule).all()
    assert not cam_to_mask(np.zeros((4, 4), np.float32), image, rule).any()


def test_lis_mask_is_opened_and_has_no_small_gaps():
    cam_map = np.zeros((20, 20), np.float32)
    cam_map[2:18, 2:18] = 1
    cam_map[8:11, 8:11] = 0
    cam_map[0, :] = 1
    mask = li_threshold(cam_map, np.zeros((20, 20, 3), np.uint8), MaskRule(open_kernel=3))
    expected = np.zeros((20, 20), bool)
    expected[2:18, 2:18] = True
    # 9 of 400 pixels are below 1/40, the line is narrower than the kernel.
    np.testing.assert_array_equal(mask, expected)


def test_gaps_below_the_share_are_filled_also_at_the_border_and_diagonals_part_them():
    mask = np.ones((10, 10), bool)
    mask[0, :3] = False
    mask[5, 5] = mask[6, 6] = False
    mask[8, 2:7] = False
    filled = fill_small_gaps(mask, 0.04)
    # 3, 1, 1 and 5 of 100 pixels.
    expected = np.ones((10, 10), bool)
    expected[8, 2:7] = False
    np.testing.assert_array_equal(filled, expected)
    assert fill_small_gaps(np.ones((3, 3), bool), 0.5).all()
    assert not fill_small_gaps(np.zeros((3, 3), bool), 1.0).any()


def test_quantile_0_keeps_all_that_is_active_and_nothing_else():
    cam_map = np.array([[0.0, 0.1], [0.5, 1.0]], np.float32)
    np.testing.assert_array_equal(
        threshold_and_open(cam_map, 2, 2, 0.0, 0, "cam"), [[False, True], [True, True]]
    )


@pytest.mark.parametrize("open_at", ["cam", "image"])
def test_map_of_zeros_gives_an_empty_mask(open_at):
    mask = threshold_and_open(np.zeros((4, 4), np.float32), 32, 32, 0.3, 3, open_at)
    assert mask.shape == (32, 32)
    assert mask.dtype == np.bool_
    assert not mask.any()


@pytest.mark.parametrize("open_at", ["cam", "image"])
@pytest.mark.parametrize("value", [1.0, 0.3, 1e-6])
@pytest.mark.parametrize("side", [50, 512])
def test_constant_map_is_foreground_everywhere(open_at, value, side):
    assert threshold_and_open(
        np.full((16, 16), value, np.float32), side, side, 0.9, 5, open_at
    ).all()


def test_at_image_size_the_quantile_still_comes_from_the_small_map():
    cam_map = noise(8, 8) * (noise(8, 8, seed=1) < 0.6)
    threshold = np.quantile(cam_map[cam_map > 0], 0.4)
    upsampled = cv2.resize(cam_map, (64, 64), interpolation=cv2.INTER_LINEAR)
    assert (
        abs(np.quantile(upsampled[upsampled > 0], 0.4) - threshold) > 0.02
    )  # the other reading would differ
    np.testing.assert_array_equal(
        threshold_and_open(cam_map, 64, 64, 0.4, 0, "image"), upsampled >= threshold
    )
    np.testing.assert_array_equal(
        threshold_and_open(cam_map, 64, 64, 0.4, 7, "image"), open_mask(upsampled >= threshold, 7)
    )


def test_at_map_size_opening_comes_before_the_small_mask_grows():
    cam_map = np.zeros((8, 8), np.float32)
    cam_map[2:5, 1:4] = 1.0
    cam_map[6, 6] = 1.0  # narrower than the kernel
    mask = threshold_and_open(cam_map, 64, 64, 0.3, 3, "cam")
    assert not mask[40:, 40:].any()
    # Bilinear growth by 8 crosses 0.5 on the cell's edge: the region keeps its place and sides;
    # only corners get round.
    rows, columns = np.where(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (16, 39, 8, 31)
    assert mask[20:36, 8:32].all()
    assert mask[16:40, 12:28].all()


def test_two_frames_of_opening_differ_as_published():
    cam_map = np.zeros((8, 8), np.float32)
    cam_map[3:5, 3:5] = 1.0
    assert not threshold_and_open(cam_map, 64, 64, 0.1, 3, "cam").any()
    assert threshold_and_open(cam_map, 64, 64, 0.1, 3, "image").any()


def test_mask_takes_any_height_and_width():
    assert threshold_and_open(noise(4, 4), 40, 24, 0.3, 0, "cam").shape == (40, 24)
    assert threshold_and_open(noise(4, 4), 40, 24, 0.3, 0, "image").shape == (40, 24)


def upsample_by_hand(values, size):
    """Bilinear between pixel centres in one dimension: position (i + 0.5) · n / size - 0.5, clamped
    to the ends.
    """
    position = np.clip((np.arange(size) + 0.5) * len(values) / size - 0.5, 0, len(values) - 1)
    return np.interp(position, np.arange(len(values)), values)


def test_upsampling_is_bilinear_between_pixel_centres():
    small = noise(4, 3)
    rows = np.stack([upsample_by_hand(row, 15) for row in small])
    expected = np.stack([upsample_by_hand(column, 12) for column in rows.T]).T
    upsampled = upsample(small, 12, 15)
    assert upsampled.shape == (12, 15)
    assert upsampled.dtype == np.float32
    np.testing.assert_allclose(upsampled, expected, atol=1e-6)


def test_upsampling_is_not_lanczos():
    small = noise(4, 4)
    lanczos = cv2.resize(small, (32, 32), interpolation=cv2.INTER_LANCZOS4)
    assert np.abs(upsample(small, 32, 32) - lanczos).max() > 0.01
    assert upsample(small, 32, 32).max() <= small.max() + 1e-6


def test_the_rule_chooses_the_post_processing():
    cam_map, patch = noise(8, 8), np.zeros((40, 40, 3), np.uint8)
    rule = MaskRule(quantile=0.6, open_kernel=3, open_at="image")
    np.testing.assert_array_equal(
        cam_to_mask(cam_map, patch, rule), threshold_and_open(cam_map, 40, 40, 0.6, 3, "image")
    )
    with pytest.raises(
        EpsamError, match="--postprocess snakes: not known here; use quantile_opening, li, crf, "
    ):
        cam_to_mask(cam_map, patch, MaskRule(postprocess="snakes"))


def test_without_post_processing_the_map_from_half_its_maximum_on_is_foreground():
    cam_map = np.array([[0.0, 0.39], [0.41, 0.8]], np.float32)
    patch = np.zeros((2, 2, 3), np.uint8)
    np.testing.assert_array_equal(
        cam_to_mask(cam_map, patch, MaskRule(postprocess="none")), [[False, False], [True, True]]
    )
    assert not cam_to_mask(cam_map * 0, patch, MaskRule(postprocess="none")).any()


@pytest.mark.parametrize("postprocess", ["quantile_opening", "none"])
def test_a_certain_patch_is_filled_whole_on_request(postprocess):
    cam_map = np.arange(16, dtype=np.float32).reshape(4, 4) / 15
    image = np.zeros((4, 4, 3), np.uint8)
    plain = MaskRule(postprocess=postprocess, open_kernel=0)
    cut = cam_to_mask(cam_map, image, plain, 1.0)
    assert 0 < cut.mean() < 1
    rule = MaskRule(postprocess=postprocess, open_kernel=0, full_windows=0.9)
    assert cam_to_mask(cam_map, image, rule, 0.9).all()
    np.testing.assert_array_equal(cam_to_mask(cam_map, image, rule, 0.899), cut)


def test_a_full_window_keeps_what_is_above_the_quantile():
    """What docs/deviations.md says of windows inside a tumour, with 100 values that all differ."""
    cam_map = (np.arange(100, dtype=np.float32).reshape(10, 10) + 1) / 100
    assert threshold_and_open(cam_map, 10, 10, 0.3, 0, "cam").sum() == 70


def test_a_map_of_probabilities_is_cut_at_a_half_whatever_its_maximum():
    patch = np.zeros((2, 2, 3), dtype=np.uint8)
    rule = MaskRule(postprocess="probability")
    cam_map = np.array([[0.5, 0.51], [0.2, 0.9]], dtype=np.float32)
    np.testing.assert_array_equal(cam_to_mask(cam_map, patch, rule), [[False, True]] * 2)
    assert not cam_to_mask(cam_map / 2, patch, rule).any()


@pytest.mark.parametrize("postprocess", ["probability", "none", "quantile_opening"])
def test_probabilities_above_a_half_are_the_mask(postprocess):
    rule = MaskRule(postprocess=postprocess, full_windows=0.9)
    cam_map, patch = noise(8, 8), np.zeros((32, 32, 3), dtype=np.uint8)
    for of_patch in (0.5, 0.95):
        probabilities = cam_to_probability(cam_map, patch, rule, of_patch)
        mask = cam_to_mask(cam_map, patch, rule, of_patch)
        np.testing.assert_array_equal(probabilities > 0.5, mask)
        assert probabilities.dtype == np.float32
    kinds = len(np.unique(cam_to_probability(cam_map, patch, rule, 0.5)))
    assert (kinds > 2) == (postprocess == "probability")


@pytest.mark.parametrize("postprocess", ["probability", "none"])
def test_with_fill_holes_neither_mask_nor_probability_has_a_hole(postprocess):
    cam_map = np.full((5, 5), 0.9, dtype=np.float32)
    cam_map[2, 2] = 0.1
    patch = np.zeros((5, 5, 3), dtype=np.uint8)
    for fill_holes in (False, True):
        rule = MaskRule(postprocess=postprocess, fill_holes=fill_holes)
        assert cam_to_mask(cam_map, patch, rule)[2, 2] == fill_holes
        assert (cam_to_probability(cam_map, patch, rule)[2, 2] > 0.5) == fill_holes
