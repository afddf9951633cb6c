import numpy as np
import pytest

from epsam.randomness import generator
from epsam.sam.frames import SamFrame
from epsam.sam.prompts import (
    BOX_END,
    BOX_START,
    NEGATIVE,
    PADDING,
    POSITIVE,
    labelled,
    mask_points,
    pepm_points,
    prompt_batch,
    sample_points,
)


def rng():
    return generator(1, "test")


def test_empty_mask_gives_no_points_rather_than_the_origin():
    points = pepm_points(np.ones((8, 8)), np.zeros((8, 8), bool), 50, rng())
    assert points.shape == (0, 2)


def test_fewer_pixels_than_points_gives_every_pixel_once():
    mask = np.zeros((8, 6), bool)
    mask[1, 4] = mask[7, 0] = mask[3, 3] = True
    points = mask_points(mask, 50, rng())
    assert sorted(map(tuple, points.tolist())) == [(0, 7), (3, 3), (4, 1)]


def test_activation_of_zero_inside_the_mask_is_never_drawn():
    activation = np.zeros((4, 4))
    activation[2, 1] = 0.5
    assert pepm_points(activation, np.ones((4, 4), bool), 50, rng()).tolist() == [[1, 2]]


def test_points_are_different_pixels_inside_the_mask():
    mask = np.zeros((40, 30), bool)
    mask[10:30, 5:25] = True
    points = pepm_points(np.random.default_rng(0).random((40, 30)), mask, 50, rng())
    assert len({tuple(p) for p in points.tolist()}) == 50
    assert all(mask[int(y), int(x)] for x, y in points)


def test_first_point_falls_on_a_pixel_with_probability_proportional_to_its_activation():
    activation = np.array([[1.0, 3.0], [6.0, 0.0]])
    draws = [tuple(sample_points(activation, 1, generator(i, "law"))[0]) for i in range(4000)]
    shares = [draws.count(p) / 4000 for p in [(0, 0), (1, 0), (0, 1), (1, 1)]]
    # Three standard deviations of a share of 0.6 over 4000 draws are 0.023.
    assert shares == pytest.approx([0.1, 0.3, 0.6, 0.0], abs=0.025)


def test_the_same_key_draws_the_same_points():
    weight = np.random.default_rng(0).random((16, 16))
    assert np.array_equal(sample_points(weight, 9, rng()), sample_points(weight, 9, rng()))


def test_a_batch_scales_points_and_pads_with_sams_padding_label():
    coordinates, labels = prompt_batch([np.array([[3, 5, POSITIVE]], np.float32), np.zeros((0, 3), np.float32)],
                                       SamFrame(512, 1024), 3)
    assert coordinates[0].tolist() == [[6, 10], [0, 0], [0, 0]]
    assert labels.tolist() == [[POSITIVE, PADDING, PADDING], [PADDING] * 3]


def test_a_prompt_longer_than_the_usual_count_widens_the_batch():
    prompt = np.array([[0, 0, BOX_START], [9, 9, BOX_END], [4, 4, NEGATIVE]], np.float32)
    coordinates, labels = prompt_batch([prompt], SamFrame(10, 20), 1)
    assert coordinates.tolist() == [[[0, 0], [18, 18], [8, 8]]]
    assert labels.tolist() == [[BOX_START, BOX_END, NEGATIVE]]


def test_labelled_points_carry_their_label():
    assert labelled(np.array([[1, 2], [3, 4]], np.float32), NEGATIVE).tolist() == [[1, 2, 0], [3, 4, 0]]
