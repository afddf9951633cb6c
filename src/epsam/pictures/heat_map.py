"""A table of numbers as an image: each cell coloured by its value, the value written on it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from epsam.data.images import Rgb
from epsam.pictures.figure import make_figure, render_figure, to_fractions, to_points
from epsam.pictures.text import INK, Colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELL = (34, 66)
"""Height and width of a cell, px."""
TOP, LEFT, BOTTOM, RIGHT = 40, 76, 52, 16
LETTER_PX = 12
TITLE_CHARACTER_PX = 8
FRAME_PX = 3
BEST: Colour = (220, 30, 30)
DARK_BELOW = 0.6
"""Fraction of the range below which viridis is dark enough for white numbers."""

Values = npt.NDArray[np.floating]


def draw_heat_map(
    values: Values,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    row_name: str,
    column_name: str,
) -> Rgb:
    """An image of `values` (rows, columns), the first row on top; the highest value is framed."""
    cell_height, cell_width = CELL
    height = TOP + cell_height * len(rows) + BOTTOM
    # A long title may be wider than the cells.
    cells_width = LEFT + cell_width * len(columns) + RIGHT
    width = max(cells_width, LEFT + TITLE_CHARACTER_PX * len(title))

    # Placed by hand, so that a cell is CELL px large whatever the names beside it.
    figure = make_figure(height, width)
    place = (
        LEFT / width,
        BOTTOM / height,
        cell_width * len(columns) / width,
        cell_height * len(rows) / height,
    )
    axes = figure.add_axes(place)
    _draw_cells(axes, values)
    _frame_best(axes, values)
    _name_axes(axes, rows, columns, row_name, column_name)

    figure.text(
        8 / width,
        1 - TOP / 2 / height,
        title,
        fontsize=to_points(LETTER_PX),
        color=to_fractions(INK),
        verticalalignment="center",
        parse_math=False,
    )
    return render_figure(figure)


def _draw_cells(axes: "Axes", values: Values) -> None:
    fractions = _fractions_of_range(values)
    axes.imshow(fractions, cmap="viridis", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.spines[:].set_visible(False)
    for row, column in np.ndindex(values.shape):
        axes.text(
            column,
            row,
            f"{values[row, column]:.3f}",
            fontsize=to_points(LETTER_PX),
            color="white" if fractions[row, column] < DARK_BELOW else "black",
            horizontalalignment="center",
            verticalalignment="center_baseline",
        )


def _name_axes(
    axes: "Axes", rows: Sequence[str], columns: Sequence[str], row_name: str, column_name: str
) -> None:
    size = to_points(LETTER_PX)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(columns)), columns)
    axes.tick_params(length=0, labelsize=size, labelcolor=to_fractions(INK))
    axes.set_xlabel(column_name, fontsize=size, color=to_fractions(INK))
    axes.set_ylabel(row_name, fontsize=size, color=to_fractions(INK))


def _fractions_of_range(values: Values) -> Values:
    """Where each value lies between the least (0) and the greatest (1); 0 if all are equal, and
    for NaN.
    """
    least = float(np.nanmin(values)) if np.isfinite(values).any() else 0.0
    finite = np.nan_to_num(values, nan=least)
    span = finite.max() - finite.min()
    if span > 0:
        return np.asarray((finite - finite.min()) / span)
    return np.zeros_like(finite)


def _frame_best(axes: "Axes", values: Values) -> None:
    from matplotlib.patches import Rectangle

    if not np.isfinite(values).any():
        return
    row, column = np.unravel_index(np.nanargmax(values), values.shape)
    # Within the cell, whose corners are half a cell from its centre.
    inset_y, inset_x = FRAME_PX / CELL[0] / 2, FRAME_PX / CELL[1] / 2
    frame = Rectangle(
        (column - 0.5 + inset_x, row - 0.5 + inset_y),
        1 - 2 * inset_x,
        1 - 2 * inset_y,
        fill=False,
        edgecolor=to_fractions(BEST),
        linewidth=to_points(FRAME_PX),
    )
    axes.add_patch(frame)
