"""Training curves as pictures, drawn with OpenCV, and which figures belong on one."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from epsam.data.images import Rgb
from epsam.pictures.text import INK, Colour, text_size, write_centred, write_left, write_right

Point = tuple[float, float]
Series = dict[str, list[Point]]

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
SUBPIXEL_BITS = 4

FAMILIES: dict[str, tuple[str, dict[str, str]]] = {
    "classifier loss": ("classifier", {"train_loss": "train", "val_loss": "validation"}),
    "classifier accuracy": ("classifier", {"val_accuracy": "accuracy", "val_auroc": "AUROC"}),
    "decoder train loss": ("decoder", {"train_loss": ""}),
    "decoder validation Dice": ("decoder", {"val_dice": ""}),
}
"""Title → stage and its figures with their legends; an empty legend: a curve for each round, named
after it.
"""

BY_ROUND = {
    "acceptance": "share kept",
    "pseudo_dice_all": "Dice, all",
    "pseudo_dice_kept": "Dice, kept",
}
"""Figures of which a round has one."""


@dataclass(frozen=True)
class _Frame:
    """The plotting area, px, and the ranges of its axes."""

    left: int
    right: int
    top: int
    bottom: int
    x_ticks: list[float]
    y_ticks: list[float]

    def place(self, x: float, y: float) -> Point:
        """Picture position of a value."""
        across = (x - self.x_ticks[0]) / (self.x_ticks[-1] - self.x_ticks[0])
        up = (y - self.y_ticks[0]) / (self.y_ticks[-1] - self.y_ticks[0])
        return self.left + across * (self.right - self.left), self.bottom - up * (
            self.bottom - self.top
        )


def curves_from_metrics(rows: Sequence[Mapping[str, str]]) -> dict[str, Series]:
    """Title → series by legend, from rows of metrics.csv (stage, epoch, name, value); titles
    without rows are absent.

    Values that are empty or not finite stay as gaps (NaN).
    """
    found: dict[str, Series] = {}
    for row in rows:
        point = (_number(row["epoch"]), _number(row["value"]))
        for title, legend in _places(row["stage"], row["name"]):
            found.setdefault(title, {}).setdefault(legend, []).append(point)
        if row["name"] in BY_ROUND and _round(row["stage"]):
            by_round = found.setdefault("pseudo-labels by round", {})
            by_round.setdefault(BY_ROUND[row["name"]], []).append(
                (float(_round(row["stage"])), point[1])
            )
    return {
        title: {legend: sorted(points) for legend, points in series.items()}
        for title, series in found.items()
    }


def draw_curves(series: Mapping[str, Sequence[Point]], title: str, y_label: str = "") -> Rgb:
    """A picture of the series (points x, y by legend): x is an epoch or a round. Without any value
    it says so.

    A value that is not finite leaves a gap.
    """
    canvas = np.full((*SIZE, 3), 255, np.uint8)
    values = [point for points in series.values() for point in points if _finite(point)]
    legend_width = max((text_size(name, 0.45)[0] for name in series), default=0) + 60
    frame = _frame_for(values or [(0.0, 0.0), (1.0, 1.0)], SIZE[1] - legend_width)
    write_centred(canvas, title, (frame.left + frame.right) / 2, TOP / 2, 0.6)
    if y_label:
        write_left(canvas, y_label, 8, TOP / 2, 0.45, AXIS)
    _draw_axes(canvas, frame, "round" if "round" in title else "epoch")
    if not values:
        write_centred(
            canvas,
            "no data",
            (frame.left + frame.right) / 2,
            (frame.top + frame.bottom) / 2,
            0.8,
            AXIS,
        )
        return canvas
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        _draw_series(canvas, frame, points, colour)
        _draw_legend(canvas, name, frame.right + 16, TOP + 14 + 22 * number, colour)
    return canvas


def nice_ticks(low: float, high: float, most: int = 7, whole: bool = False) -> list[float]:
    """Evenly spaced round numbers (1, 2, 2.5 or 5 times a power of ten) from at or below `low` to
    at or above `high`.

    At most `most` steps; `whole` keeps to whole numbers. Equal bounds are set apart first.
    """
    if high - low < 1e-12 * max(1.0, abs(low)):
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    if whole:
        low, high = math.floor(low), math.ceil(high)
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    steps = [factor * power for factor in (1, 2, 2.5, 5, 10, 20)]
    if whole:
        steps = [step for step in steps if step >= 1 and step == round(step)] or [1.0]
    # The slack forgives rounding, so that 0.3 / 0.1 counts as three steps.
    step = next(
        s for s in steps if math.ceil(high / s - 1e-9) - math.floor(low / s + 1e-9) <= most + 1
    )
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _finite(point: Point) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])


def _round(stage: str) -> str:
    """The round's number in a decoder's stage name ("decoder_2", "decoder 2"); empty for other
    stages.
    """
    kind, _, number = stage.replace("_", " ").partition(" ")
    return number if kind == "decoder" and number.isdecimal() else ""


def _places(stage: str, name: str) -> Iterator[tuple[str, str]]:
    """The picture and the legend that a figure belongs to."""
    number = _round(stage)
    kind = "decoder" if number else stage
    for title, (wanted, legends) in FAMILIES.items():
        if kind == wanted and name in legends:
            yield title, legends[name] or ("preliminary" if number == "0" else f"round {number}")


def _frame_for(values: Sequence[Point], right: int) -> _Frame:
    across, up = [x for x, _ in values], [y for _, y in values]
    return _Frame(
        LEFT,
        right,
        TOP,
        SIZE[0] - BOTTOM,
        nice_ticks(min(across), max(across), 10, whole=True),
        nice_ticks(min(up), max(up)),
    )


def _draw_axes(canvas: Rgb, frame: _Frame, x_label: str) -> None:
    for value in frame.y_ticks:
        y = frame.place(frame.x_ticks[0], value)[1]
        cv2.line(canvas, (frame.left, round(y)), (frame.right, round(y)), GRID, 1)
        write_right(canvas, f"{value:g}", frame.left - 8, y, 0.45)
    for value in frame.x_ticks:
        x = frame.place(value, frame.y_ticks[0])[0]
        cv2.line(canvas, (round(x), frame.top), (round(x), frame.bottom), GRID, 1)
        write_centred(canvas, f"{value:g}", x, frame.bottom + 14, 0.45)
    cv2.rectangle(canvas, (frame.left, frame.top), (frame.right, frame.bottom), AXIS, 1)
    write_centred(canvas, x_label, (frame.left + frame.right) / 2, frame.bottom + 38, 0.5, INK)


def _draw_series(canvas: Rgb, frame: _Frame, points: Sequence[Point], colour: Colour) -> None:
    """Lines between neighbours that are both there, and a dot on every value."""
    unit = 1 << SUBPIXEL_BITS
    places = [frame.place(*point) if _finite(point) else None for point in points]
    fine = [
        None if place is None else (round(place[0] * unit), round(place[1] * unit))
        for place in places
    ]
    for here, there in itertools.pairwise(fine):
        if here and there:
            cv2.line(canvas, here, there, colour, 2, cv2.LINE_AA, SUBPIXEL_BITS)
    for spot in fine:
        if spot:
            cv2.circle(
                canvas,
                spot,
                (3 if len(points) <= 40 else 1) * unit,
                colour,
                cv2.FILLED,
                cv2.LINE_AA,
                SUBPIXEL_BITS,
            )


def _draw_legend(canvas: Rgb, name: str, x: int, y: int, colour: Colour) -> None:
    cv2.line(canvas, (x, y), (x + 22, y), colour, 3, cv2.LINE_AA)
    write_left(canvas, name, x + 30, y, 0.45)
