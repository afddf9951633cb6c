"""Training curves as images, and which metrics belong on which."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from epsam.data.images import Rgb
from epsam.pictures.figure import make_figure, render_figure, to_fractions, to_points
from epsam.pictures.text import INK, Colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
"""Height and width, px."""
PADDING_IN = 0.12
"""Round the plot, inches."""
LINE_PX = 3
LARGE_DOT_PX, SMALL_DOT_PX = 8, 3
"""Diameters."""
MOST_LARGE_DOTS = 40
MOST_TICKS = 8
TICK_STEPS = (1, 2, 2.5, 5, 10)
"""Round numbers: these times a power of ten."""

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
    "acceptance": "fraction accepted",
    "pseudo_dice_all": "Dice, all",
    "pseudo_dice_kept": "Dice, kept",
}
"""Metrics of which a round has a single value, with their legends."""


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
    return render_figure(plot_curves(series, title, y_label))


def plot_curves(series: Mapping[str, Sequence[Point]], title: str, y_label: str = "") -> "Figure":
    """The figure of which `draw_curves` is the image."""
    figure = make_figure(*SIZE)
    figure.set_layout_engine("constrained", h_pad=PADDING_IN, w_pad=PADDING_IN)
    axes = figure.add_subplot()
    axes.set_title(title, color=to_fractions(INK), parse_math=False)
    axes.set_ylabel(y_label, color=to_fractions(INK))
    axes.set_xlabel("round" if "round" in title else "epoch", color=to_fractions(INK))
    _style_axes(axes)

    epochs = _epochs_with_value(series)
    if not epochs:
        centre = 0.5, 0.5
        text = axes.text(*centre, "no data", transform=axes.transAxes, ha="center", va="center")
        text.set(fontsize="x-large", color=to_fractions(AXIS))
        return figure
    # A single epoch would have an axis of its fractions.
    if len(epochs) == 1:
        (epoch,) = epochs
        axes.set_xlim(epoch - 1, epoch + 1)

    for number, (name, points) in enumerate(series.items()):
        _draw_series(axes, name, points, COLOURS[number % len(COLOURS)])
    legend = figure.legend(loc="outside right upper", frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


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


def _epochs_with_value(series: Mapping[str, Sequence[Point]]) -> set[float]:
    epochs: set[float] = set()
    for points in series.values():
        epochs.update(point[0] for point in points if _is_finite(point))
    return epochs


def _style_axes(axes: "Axes") -> None:
    """Round numbers on both axes, whole ones on that of x, and a grid behind the lines."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(MOST_TICKS, steps=TICK_STEPS, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(MOST_TICKS, steps=TICK_STEPS))
    axes.ticklabel_format(useOffset=False)
    axes.grid(True, color=to_fractions(GRID))
    axes.set_axisbelow(True)
    axes.tick_params(color=to_fractions(AXIS), labelcolor=to_fractions(INK))
    for spine in axes.spines.values():
        spine.set_color(to_fractions(AXIS))


def _draw_series(axes: "Axes", name: str, points: Sequence[Point], colour: Colour) -> None:
    """Draw lines between neighbours that are both finite, and a dot on every finite value."""
    # Large dots would hide a line of many values.
    dot_px = LARGE_DOT_PX if len(points) <= MOST_LARGE_DOTS else SMALL_DOT_PX
    axes.plot(
        *np.array(points, float).reshape(-1, 2).T,
        label=name,
        color=to_fractions(colour),
        linewidth=to_points(LINE_PX),
        marker="o",
        markersize=to_points(dot_px),
        markeredgewidth=0,
    )
