"""Panels: sizes, colours in the right position, and tiles for what is missing."""

import numpy as np

from epsam.pictures.panel import (
    GAP_PX,
    TITLE_PX,
    PanelRow,
    blank_tile,
    draw_grid,
    draw_panel,
    draw_points,
    overlay_cam,
    overlay_mask,
)

GREY = np.full((64, 64, 3), 128, np.uint8)


def square():
    mask = np.zeros((64, 64), bool)
    mask[16:48, 16:48] = True
    return mask


def test_mask_overlay_tints_the_inside_draws_the_border_and_leaves_the_rest():
    drawn = overlay_mask(GREY, square(), colour=(255, 0, 0), tint=0.5)
    assert drawn[32, 32].tolist() == [192, 64, 64]
    assert drawn[32, 16].tolist() == [255, 0, 0]
    assert drawn[4, 4].tolist() == [128, 128, 128]


def test_mask_overlay_of_an_empty_mask_is_the_image_itself():
    assert np.array_equal(overlay_mask(GREY, np.zeros((64, 64), bool)), GREY)


def test_mask_overlay_does_not_write_into_its_input():
    image = GREY.copy()
    overlay_mask(image, square())
    assert np.array_equal(image, GREY)


def test_cam_is_upsampled_to_the_image_and_yellow_where_high():
    cam = np.zeros((4, 4), np.float32)
    cam[:, 2:] = 1
    drawn = overlay_cam(GREY, cam, weight=1.0)
    assert drawn.shape == GREY.shape
    # Viridis runs from dark violet to yellow.
    assert drawn[32, 0, 2] > drawn[32, 0, 1]
    assert drawn[32, 63, 1] > 200 > drawn[32, 63, 2]


def test_cam_overlay_survives_values_outside_the_range_and_not_a_number():
    assert overlay_cam(GREY, np.array([[np.nan, -1.0], [2.0, 1.0]], np.float32)).shape == GREY.shape


def test_points_lie_at_x_and_y_with_a_dark_rim():
    drawn = draw_points(GREY, np.array([[40, 10]], np.float32), colour=(255, 255, 0), radius=3)
    assert drawn[10, 40].tolist() == [255, 255, 0]
    assert drawn[10, 44].max() < 100
    assert drawn[40, 10].tolist() == [128, 128, 128]


def test_grid_has_a_tile_for_each_column_under_its_title():
    half = np.zeros((32, 64, 3), np.uint8)
    drawn = draw_grid(["one", "two"], [[GREY, half]], side=100)
    assert drawn.shape == (TITLE_PX + 100 + GAP_PX, 2 * 100 + 3 * GAP_PX, 3)
    assert drawn[:TITLE_PX].min() < 128
    assert drawn[TITLE_PX + 50, GAP_PX + 50].tolist() == [128, 128, 128]
    second = drawn[TITLE_PX : TITLE_PX + 100, 2 * GAP_PX + 100 : 2 * GAP_PX + 200]
    # Half as high as wide, so white above and below.
    assert second[10].min() == 255
    assert second[50].max() == 0


def test_missing_ground_truth_is_a_grey_tile_and_columns_without_anything_are_left_out():
    full = PanelRow(GREY, square(), np.ones((4, 4), np.float32), square())
    drawn = draw_panel([full, PanelRow(GREY, None, np.ones((4, 4), np.float32), square())], side=80)
    assert drawn.shape[1] == 4 * 80 + 5 * GAP_PX
    top, left = TITLE_PX + 80 + GAP_PX, 2 * GAP_PX + 80
    assert np.array_equal(
        drawn[top : top + 80, left : left + 80], blank_tile("no ground truth", 80)
    )


def test_every_column_is_drawn_and_points_are_scaled_with_the_patch():
    image = np.full((256, 256, 3), 200, np.uint8)
    mask = np.zeros((256, 256), bool)
    mask[64:192, 64:192] = True
    row = PanelRow(
        image, mask, np.zeros((8, 8), np.float32), mask, np.array([[192, 64]], np.float32), mask
    )
    drawn = draw_panel([row], side=128)
    assert drawn.shape[1] == 6 * 128 + 7 * GAP_PX
    points = drawn[TITLE_PX : TITLE_PX + 128, 5 * GAP_PX + 4 * 128 :][:, :128]
    assert points[32, 96].tolist() == [255, 225, 60]
    assert points[96, 32].tolist() == [200, 200, 200]


def test_no_points_and_no_rows_are_said_in_words():
    drawn = draw_panel([PanelRow(GREY, points_xy_patch=np.zeros((0, 2), np.float32))], side=80)
    left = 3 * GAP_PX + 2 * 80
    assert np.array_equal(
        drawn[TITLE_PX : TITLE_PX + 80, left : left + 80], blank_tile("no points", 80)
    )
    assert draw_panel([], side=80).shape == (TITLE_PX + 80 + GAP_PX, 80 + 2 * GAP_PX, 3)
