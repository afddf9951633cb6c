"""Training curves: which metrics go where, sensible ticks, gaps and 'no data'."""

import math

import numpy as np
import pytest

from epsam.pictures.curves import COLOURS, SIZE, curves_from_metrics, draw_curves, nice_ticks


def row(stage, epoch, name, value):
    return {"stage": stage, "epoch": str(epoch), "name": name, "value": str(value)}


def count_pixels_of(image, colour):
    return int((image == np.array(colour)).all(axis=2).sum())


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.31, 0.78, [0.3, 0.4, 0.5, 0.6, 0.7, 0.8]),
        (0.0, 140.0, [0, 20, 40, 60, 80, 100, 120, 140]),
    ],
)
def test_ticks_are_round_numbers_around_the_range(low, high, expected):
    assert nice_ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize("low", [-3.7, 0.0, 0.95, 120.0])
@pytest.mark.parametrize("span", [0.0, 1e-6, 0.013, 1.0, 19.0, 4321.0])
def test_ticks_cover_the_range_and_are_few_and_even(low, span):
    ticks = nice_ticks(low, low + span)
    steps = np.diff(ticks)
    slack = 1e-6 * steps[0]
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + span - slack
    assert 2 <= len(ticks) <= 9
    assert steps == pytest.approx(steps[0])


@pytest.mark.parametrize("last", [1, 3, 4, 20, 50, 137])
def test_ticks_of_epochs_are_whole_numbers(last):
    assert all(tick == round(tick) for tick in nice_ticks(1, last, 10, integers=True))


def test_metrics_are_sorted_into_families():
    rows = [
        row("classifier", 2, "train_loss", 0.4),
        row("classifier", 1, "train_loss", 0.7),
        row("classifier", 1, "val_loss", 0.6),
        row("classifier", 1, "val_accuracy", 0.8),
        row("classifier", 1, "val_auroc", 0.9),
        row("classifier", 1, "seconds", 12),
        row("decoder_0", 1, "train_loss", 1.5),
        row("decoder 2", 1, "val_dice", 0.7),
        row("decoder_2", 20, "acceptance", 0.75),
    ]
    assert curves_from_metrics(rows) == {
        "classifier loss": {"train": [(1.0, 0.7), (2.0, 0.4)], "validation": [(1.0, 0.6)]},
        "classifier accuracy": {"accuracy": [(1.0, 0.8)], "AUROC": [(1.0, 0.9)]},
        "decoder train loss": {"preliminary": [(1.0, 1.5)]},
        "decoder validation Dice": {"round 2": [(1.0, 0.7)]},
        "pseudo-labels by round": {"share kept": [(2.0, 0.75)]},
    }


def test_empty_values_and_nan_stay_as_gaps():
    rows = [
        row("decoder_1", epoch, "val_dice", value)
        for epoch, value in ((1, 0.5), (2, ""), (3, "nan"))
    ]
    points = curves_from_metrics(rows)["decoder validation Dice"]["round 1"]
    assert points[0] == (1.0, 0.5)
    assert [x for x, _ in points] == [1.0, 2.0, 3.0]
    assert all(math.isnan(y) for _, y in points[1:])


def test_no_rows_give_no_curves():
    assert curves_from_metrics([]) == {}


def test_each_series_has_its_colour():
    image = draw_curves({"a": [(1, 0.0), (2, 1.0)], "b": [(1, 1.0), (2, 0.0)]}, "two")
    assert image.shape == (*SIZE, 3)
    assert image.dtype == np.uint8
    assert count_pixels_of(image, COLOURS[0]) > 100
    assert count_pixels_of(image, COLOURS[1]) > 100
    assert count_pixels_of(image, COLOURS[2]) == 0


def test_a_gap_is_not_bridged():
    complete = draw_curves({"a": [(x, 0.5 + 0.01 * x) for x in range(1, 6)]}, "t")
    gap = draw_curves(
        {"a": [(x, math.nan if x == 3 else 0.5 + 0.01 * x) for x in range(1, 6)]}, "t"
    )
    assert count_pixels_of(gap, COLOURS[0]) < 0.8 * count_pixels_of(complete, COLOURS[0])


@pytest.mark.parametrize("series", [{}, {"a": []}, {"a": [(1.0, math.nan)]}])
def test_without_values_the_image_says_so(series):
    image = draw_curves(series, "empty")
    assert image.shape == (*SIZE, 3)
    # The last colour is a grey, which the rims of letters have too.
    assert all(count_pixels_of(image, colour) == 0 for colour in COLOURS[:-1])
    middle = image[SIZE[0] // 2 - 40 : SIZE[0] // 2 + 40, 300:600]
    assert (middle < 160).any()


def test_one_value_alone_is_drawn():
    assert count_pixels_of(draw_curves({"a": [(1.0, 0.5)]}, "one"), COLOURS[0]) > 20
