"""Training curves as images, drawn with OpenCV, and which metrics belong on which."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from epsam.data.images import Rgb
from epsam.pictures.text import INK, Colour, text_size, write_centred, write_left, write_right

Point = tuple[float, float]
Series = dict[str, list[Point]]
"""Points (x, y) by legend."""

COLOURS: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (90, 90, 90),
)
"""Okabe & Ito's palette, which the colour-blind can tell apart; more series begin again from the
first.
"""

GRID: Colour = (225, 225, 225)
AXIS: Colour = (120, 120, 120)
SIZE = (480, 860)
TOP, BOTTOM, LEFT = 46, 56, 78
LEGEND_ROW_PX = 22
LARGE_DOT_PX, SMALL_DOT_PX = 3, 1
MOST_LARGE_DOTS = 40
SUBPIXEL_BITS = 4

FAMILIES: dict[str, tuple[str, dict[str, str]]] = {
    "classifier loss": ("classifier", {"train_loss": "train", "val_loss": "validation"}),
    "classifier accuracy": ("classifier", {"val_accuracy": "accuracy", "val_auroc": "AUROC"}),
    "decoder train loss": ("decoder", {"train_loss": ""}),
    "decoder validation Dice": ("decoder", {"val_dice": ""}),
}
"""Title → stage and its metrics with their legends; an empty legend: a curve for each round, named
after it.
"""

BY_ROUND_TITLE = "pseudo-labels by round"
BY_ROUND = {
    "acceptance": "share kept",
    "pseudo_dice_all": "Dice, all",
    "pseudo_dice_kept": "Dice, kept",
}
"""Metrics of which a round has a single value, with their legends."""


@dataclass(frozen=True)
class _PlotArea:
    """The plotting area, px, and the ticks of its axes, the first and last of which are its
    edges.
    """

    left: int
    right: int
    top: int
    bottom: int
    x_ticks: list[float]
    y_ticks: list[float]

    @property
    def centre(self) -> Point:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def x_px(self, x: float) -> float:
        fraction = (x - self.x_ticks[0]) / (self.x_ticks[-1] - self.x_ticks[0])
        return self.left + fraction * (self.right - self.left)

    def y_px(self, y: float) -> float:
        fraction = (y - self.y_ticks[0]) / (self.y_ticks[-1] - self.y_ticks[0])
        return self.bottom - fraction * (self.bottom - self.top)


def curves_from_metrics(rows: Sequence[Mapping[str, str]]) -> dict[str, Series]:
    """Title → series, from rows of metrics.csv (stage, epoch, name, value); titles without rows are
    absent.

    Values that are empty or not finite stay as gaps (NaN).
    """
    curves: dict[str, Series] = {}
    for row in rows:
        stage, name = row["stage"], row["name"]
        epoch, value = _parse_number(row["epoch"]), _parse_number(row["value"])
        round_number = _round_number(stage)

        # A metric may belong to no family, such as seconds, which is not drawn.
        for title, (family_stage, legends) in FAMILIES.items():
            kind = "decoder" if round_number else stage
            if kind == family_stage and name in legends:
                legend = legends[name] or _round_legend(round_number)
                curves.setdefault(title, {}).setdefault(legend, []).append((epoch, value))

        if name in BY_ROUND and round_number:
            by_round = curves.setdefault(BY_ROUND_TITLE, {})
            by_round.setdefault(BY_ROUND[name], []).append((float(round_number), value))

    # A line runs from left to right, whatever the order of the rows.
    for series in curves.values():
        for points in series.values():
            points.sort()
    return curves


def draw_curves(series: Mapping[str, Sequence[Point]], title: str, y_label: str = "") -> Rgb:
    """An image of the series (points x, y by legend): x is an epoch or a round. Without any value
    it says so.

    A value that is not finite leaves a gap.
    """
    canvas = np.full((*SIZE, 3), 255, np.uint8)
    values = [point for points in series.values() for point in points if _is_finite(point)]
    legend_width = max((text_size(name, 0.45)[0] for name in series), default=0) + 60
    area = _make_plot_area(values or [(0.0, 0.0), (1.0, 1.0)], SIZE[1] - legend_width)

    write_centred(canvas, title, area.centre[0], TOP / 2, 0.6)
    if y_label:
        write_left(canvas, y_label, 8, TOP / 2, 0.45, AXIS)
    _draw_axes(canvas, area, "round" if "round" in title else "epoch")
    if not values:
        write_centred(canvas, "no data", *area.centre, 0.8, AXIS)
        return canvas

    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        _draw_series(canvas, area, points, colour)
        _draw_legend(canvas, name, area.right + 16, TOP + 14 + LEGEND_ROW_PX * number, colour)
    return canvas


def nice_ticks(low: float, high: float, most: int = 7, integers: bool = False) -> list[float]:
    """Evenly spaced round numbers (1, 2, 2.5 or 5 times a power of ten) from at or below `low` to
    at or above `high`.

    At most `most` steps; `integers` keeps to whole numbers. Equal bounds are set apart first.
    """
    # Equal bounds, but for rounding: an axis needs a span.
    if high - low < 1e-12 * max(1.0, abs(low)):
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    if integers:
        low, high = math.floor(low), math.ceil(high)

    power = 10.0 ** math.floor(math.log10((high - low) / most))
    steps = [factor * power for factor in (1, 2, 2.5, 5, 10, 20)]
    if integers:
        steps = [step for step in steps if step >= 1 and step == round(step)] or [1.0]

    for step in steps:
        # The slack forgives rounding, so that 0.3 / 0.1 counts as three steps.
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first <= most + 1:
            return [round(number * step, 12) for number in range(first, last + 1)]
    raise ValueError(f"no step divides {low} to {high} into at most {most} parts")


def _parse_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _is_finite(point: Point) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])


def _round_number(stage: str) -> str:
    """The round's number in a decoder's stage name ("decoder_2", "decoder 2"); empty for other
    stages.
    """
    kind, _, number = stage.replace("_", " ").partition(" ")
    return number if kind == "decoder" and number.isdecimal() else ""


def _round_legend(round_number: str) -> str:
    return "preliminary" if round_number == "0" else f"round {round_number}"


def _make_plot_area(values: Sequence[Point], right: int) -> _PlotArea:
    """The area up to `right`, whose axes cover all values; x is counted in whole numbers."""
    xs = [x for x, _ in values]
    ys = [y for _, y in values]
    x_ticks = nice_ticks(min(xs), max(xs), 10, integers=True)
    y_ticks = nice_ticks(min(ys), max(ys))
    return _PlotArea(LEFT, right, TOP, SIZE[0] - BOTTOM, x_ticks, y_ticks)


def _draw_axes(canvas: Rgb, area: _PlotArea, x_label: str) -> None:
    for value in area.y_ticks:
        y = area.y_px(value)
        cv2.line(canvas, (area.left, round(y)), (area.right, round(y)), GRID, 1)
        write_right(canvas, f"{value:g}", area.left - 8, y, 0.45)

    for value in area.x_ticks:
        x = area.x_px(value)
        cv2.line(canvas, (round(x), area.top), (round(x), area.bottom), GRID, 1)
        write_centred(canvas, f"{value:g}", x, area.bottom + 14, 0.45)

    # The frame comes last, over the ends of the grid.
    cv2.rectangle(canvas, (area.left, area.top), (area.right, area.bottom), AXIS, 1)
    write_centred(canvas, x_label, area.centre[0], area.bottom + 38, 0.5, INK)


def _draw_series(canvas: Rgb, area: _PlotArea, points: Sequence[Point], colour: Colour) -> None:
    """Draw lines between neighbours that are both finite, and a dot on every finite value."""
    # OpenCV takes integers of which the last bits are the fraction of a pixel.
    unit = 1 << SUBPIXEL_BITS
    positions: list[tuple[int, int] | None] = []
    for x, y in points:
        if _is_finite((x, y)):
            positions.append((round(area.x_px(x) * unit), round(area.y_px(y) * unit)))
        else:
            positions.append(None)

    for start, end in itertools.pairwise(positions):
        if start and end:
            cv2.line(canvas, start, end, colour, 2, cv2.LINE_AA, SUBPIXEL_BITS)

    # Large dots would hide a line of many values.
    radius = (LARGE_DOT_PX if len(points) <= MOST_LARGE_DOTS else SMALL_DOT_PX) * unit
    for position in positions:
        if position:
            cv2.circle(canvas, position, radius, colour, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)


def _draw_legend(canvas: Rgb, name: str, x: int, y: int, colour: Colour) -> None:
    cv2.line(canvas, (x, y), (x + 22, y), colour, 3, cv2.LINE_AA)
    write_left(canvas, name, x + 30, y, 0.45)
