import numpy as np
import pytest

from epsam.pictures.heat_map import CELL, LEFT, TOP, draw_heat_map

NAMES = ["0.1", "0.2"]


def corner(image, row, column):
    """A pixel of a cell that neither number nor frame covers."""
    return tuple(int(v) for v in image[TOP + CELL[0] * row + 4, LEFT + CELL[1] * column + 5])


def test_high_and_low_have_the_ends_of_viridis_and_equal_values_one_colour():
    image = draw_heat_map(
        np.array([[0.0, 1.0], [0.5, 0.5]]), ["3", "5"], NAMES, "t", "kernel", "quantile"
    )
    assert corner(image, 0, 0) == pytest.approx((68, 1, 84), abs=2)
    assert corner(image, 0, 1) == pytest.approx((253, 231, 37), abs=2)
    assert corner(image, 1, 0) == corner(image, 1, 1)


def test_the_best_cell_is_framed():
    image = draw_heat_map(
        np.array([[0.2, 0.1], [0.3, 0.9]]), ["3", "5"], NAMES, "t", "kernel", "quantile"
    )
    assert tuple(image[TOP + CELL[0] + 1, LEFT + CELL[1] + 20]) == (220, 30, 30)
    assert tuple(image[TOP + 1, LEFT + 20]) != (220, 30, 30)


@pytest.mark.parametrize(
    "values", [np.full((1, 2), 0.5), np.full((1, 2), np.nan), np.array([[np.nan, 0.3]])]
)
def test_equal_or_missing_values_are_drawn_too(values):
    assert draw_heat_map(values, ["3"], NAMES, "t", "kernel", "quantile").dtype == np.uint8
