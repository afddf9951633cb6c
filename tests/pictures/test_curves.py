"""Training curves: which metrics go where, whole epochs, gaps and 'no data'."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from epsam.pictures import curves
from epsam.pictures.curves import COLOURS, SIZE, curves_from_metrics, draw_curves, plot_curves


def row(stage, epoch, name, value):
    return {"stage": stage, "epoch": str(epoch), "name": name, "value": str(value)}


def count_pixels_of(image, colour):
    return int((image == np.array(colour)).all(axis=2).sum())


@pytest.mark.parametrize("last", [1, 2, 3, 4, 20, 50, 137])
def test_ticks_of_epochs_are_whole_numbers(last):
    figure = plot_curves({"a": [(float(x), 1 / x) for x in range(1, last + 1)]}, "t")
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert 1 <= len(ticks) <= 9
    assert all(tick == round(tick) for tick in ticks)
    assert low < 1
    assert last < high


def test_lines_hold_every_value_by_legend_and_colour():
    series = {f"round {n}": [(1.0, 0.1 * n), (2.0, math.nan), (3.0, 1.0)] for n in range(9)}
    figure = plot_curves(series, "by <$x_1$>", "Dice")
    (axes,) = figure.axes
    for (name, points), line in zip(series.items(), axes.lines, strict=True):
        number = int(name[-1])
        assert line.get_label() == name
        assert np.rint(np.array(line.get_color()) * 255).tolist() == list(COLOURS[number % 7])
        assert np.isnan(line.get_xydata()[1][1])
        assert line.get_xydata()[[0, 2]].tolist() == [list(points[0]), list(points[2])]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(series)
    # A title is text, not a formula.
    assert not axes.title.get_parse_math()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "Dice")
    assert plot_curves(series, "x by round").axes[0].get_xlabel() == "round"


def test_an_infinite_value_does_not_stretch_the_axis():
    (axes,) = plot_curves({"a": [(1.0, 0.5), (2.0, math.inf), (3.0, 0.7)]}, "t").axes
    assert axes.get_ylim()[1] < 1


def test_matplotlib_is_loaded_where_a_curve_is_drawn_and_has_no_global_state():
    code = """
import sys
import epsam.pictures.heat_map, epsam.report.inference, epsam.report.training
from epsam.pictures.curves import draw_curves
assert not {"matplotlib", "jinja2", "torch"} & set(sys.modules), "slow to start"
draw_curves({"a": [(1.0, 0.5)]}, "t")
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(curves.__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


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
        "pseudo-labels by round": {"fraction accepted": [(2.0, 0.75)]},
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
