"""Windows by their tumour fraction, with numbers by hand and by brute force."""

import numpy as np
import pytest

from epsam.evaluation.tumour_fractions import (
    WindowCounts,
    WindowGrid,
    name_range,
    summarize_by_fraction,
)
from epsam.metrics import PixelCounts, count_pixels


@pytest.mark.parametrize(
    ("fraction", "name"),
    [
        (0, "0"),
        (0.001, "0-2"),
        (0.02, "0-2"),
        (0.021, "2-20"),
        (0.199, "2-20"),
        (0.2, "20-90"),
        (0.9, "20-90"),
        (0.901, "90-100"),
        (1, "90-100"),
    ],
)
def test_the_middle_range_is_that_of_training(fraction, name):
    assert name_range(fraction) == name


def test_rows_are_means_and_sums_of_their_windows():
    windows = [
        # Of 100 px: 50 are tumour, 40 marked, 30 rightly: Dice 60/90; the second Dice is 1.
        WindowCounts(PixelCounts(30, 40, 50), 100),
        WindowCounts(PixelCounts(20, 20, 20), 100),
        WindowCounts(PixelCounts(70, 70, 100), 100),
        # Three windows without tumour together.
        WindowCounts(PixelCounts(0, 30, 0), 300, 3),
    ]
    none, middle, whole = summarize_by_fraction(windows)
    assert none == {
        "tumour_percent": "0",
        "windows": 3,
        "dice": "",
        "recall": "",
        "marked": 0.1,
    }
    assert (middle["tumour_percent"], middle["windows"]) == ("20-90", 2)
    # 1e-3 is added to both sides of a Dice.
    assert middle["dice"] == pytest.approx((60 / 90 + 1) / 2, abs=1e-5)
    assert middle["recall"] == pytest.approx(50 / 70, abs=1e-6)
    assert middle["marked"] == 0.3
    assert (whole["tumour_percent"], whole["windows"], whole["recall"]) == ("90-100", 1, 0.7)


@pytest.mark.parametrize("band", [1, 3, 4, 7, 50])
def test_counts_of_bands_are_those_of_the_windows(band):
    rng = np.random.default_rng(0)
    predicted, target = rng.random((2, 21, 18)) < 0.4
    grid = WindowGrid(4)
    for top in range(0, 21, band):
        grid.add_band(predicted[top : top + band], target[top : top + band])
    # The window at (4, 0) and those of row 5 are cut off by the edges.
    places = [(0, 0), (3, 4), (2, 1), (2, 1), (4, 0), (0, 5)]
    windows = grid.whole_windows(places)
    expected = []
    for column, row in [(0, 0), (2, 1), (3, 4)]:
        at = np.s_[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        expected.append(WindowCounts(count_pixels(predicted[at], target[at]), 16))
    assert windows == expected
