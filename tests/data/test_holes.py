"""Filled holes against numbers by hand and brute force."""

import numpy as np
import pytest

from epsam.data.holes import fill_mask_holes, fill_probability_holes

RING = np.array(
    [
        [0, 1, 1, 1, 0],
        [0, 1, 0, 1, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 0, 0, 0],
    ],
    dtype=bool,
)


def fill_by_brute_force(mask):
    """All that cannot be reached from outside by steps through sides."""
    outside = np.pad(~mask, 1, constant_values=True)
    reached = np.zeros_like(outside)
    reached[0, 0] = True
    while True:
        grown = reached.copy()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        grown &= outside
        if (grown == reached).all():
            return ~reached[1:-1, 1:-1]
        reached = grown


def noise(seed, shape=(13, 17)):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def test_what_a_ring_encloses_is_filled_and_what_reaches_the_border_is_not():
    filled = fill_mask_holes(RING)
    assert filled[1, 2]
    assert filled.sum() == RING.sum() + 1
    # Cut out so that the hole lies at the border.
    assert (fill_mask_holes(RING[1:]) == RING[1:]).all()


def test_a_way_out_goes_through_sides_not_through_corners():
    # The left neighbour of the hole is in the ring; the corner beside it is not.
    without_corner = RING.copy()
    without_corner[0, 1] = False
    assert fill_mask_holes(without_corner)[1, 2]
    without_side = RING.copy()
    without_side[1, 1] = False
    assert not fill_mask_holes(without_side)[1, 2]


@pytest.mark.parametrize("seed", range(6))
def test_a_mask_is_filled_as_by_brute_force(seed):
    mask = noise(seed) < 0.7
    assert (fill_mask_holes(mask) == fill_by_brute_force(mask)).all()


def test_a_probability_is_raised_to_the_lowest_pass_of_its_surroundings():
    probability = np.array(
        [
            [0.1, 0.9, 0.9, 0.9],
            [0.1, 0.8, 0.2, 0.9],
            [0.1, 0.9, 0.6, 0.9],
        ],
        dtype=np.float32,
    )
    # The way from 0.2 to the border leads over 0.6 below it; 0.6 is at the border itself.
    filled = fill_probability_holes(probability)
    expected = probability.copy()
    expected[1, 2] = 0.6
    assert filled.dtype == np.float32
    assert (filled == expected).all()


@pytest.mark.parametrize("seed", range(4))
def test_each_thresholds_mask_is_the_one_of_before_with_its_holes_filled(seed):
    probability = noise(seed)
    filled = fill_probability_holes(probability)
    for threshold in (0.1, 0.3, 0.5, 0.7, 0.9):
        before = fill_mask_holes(probability > threshold)
        assert ((filled > threshold) == before).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (2, 3)])
def test_what_has_no_inside_stays_as_it_is(shape):
    probability = noise(0, shape)
    assert (fill_probability_holes(probability) == probability).all()
    assert (fill_mask_holes(probability > 0.5) == (probability > 0.5)).all()
