"""A table of numbers as an image: each cell coloured by its value, the value written on it."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from epsam.data.images import Rgb
from epsam.pictures.text import Colour, write_centred, write_left, write_right

CELL = (34, 66)
"""Height and width of a cell, px."""
TOP, LEFT, BOTTOM, RIGHT = 40, 76, 52, 16
TITLE_CHARACTER_PX = 8
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
    width = LEFT + cell_width * len(columns) + RIGHT
    # A long title may be wider than the cells.
    canvas_width = max(width, LEFT + TITLE_CHARACTER_PX * len(title))
    canvas = np.full((height, canvas_width, 3), 255, np.uint8)

    write_left(canvas, title, 8, TOP / 2, 0.45)
    _draw_cells(canvas, values)
    _frame_best(canvas, values)

    for row, name in enumerate(rows):
        write_right(canvas, name, LEFT - 8, TOP + cell_height * (row + 0.5), 0.45)
    labels_y = height - BOTTOM + 14
    for column, name in enumerate(columns):
        write_centred(canvas, name, LEFT + cell_width * (column + 0.5), labels_y, 0.45)
    write_left(canvas, row_name, 8, labels_y, 0.45)
    write_centred(canvas, column_name, LEFT + cell_width * len(columns) / 2, height - 14, 0.45)
    return canvas


def _draw_cells(canvas: Rgb, values: Values) -> None:
    cell_height, cell_width = CELL
    fractions = _fractions_of_range(values)
    levels = np.rint(fractions * 255).astype(np.uint8)
    # OpenCV's colour maps are BGR.
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[:, :, ::-1]

    for row, column in np.ndindex(values.shape):
        top, left = TOP + cell_height * row, LEFT + cell_width * column
        canvas[top : top + cell_height, left : left + cell_width] = colours[row, column]
        is_dark = fractions[row, column] < DARK_BELOW
        ink: Colour = (255, 255, 255) if is_dark else (0, 0, 0)
        text = f"{values[row, column]:.3f}"
        write_centred(canvas, text, left + cell_width / 2, top + cell_height / 2, 0.42, ink)


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


def _frame_best(canvas: Rgb, values: Values) -> None:
    if not np.isfinite(values).any():
        return
    cell_height, cell_width = CELL
    row, column = np.unravel_index(np.nanargmax(values), values.shape)
    left, top = LEFT + cell_width * int(column), TOP + cell_height * int(row)
    corner = (left + cell_width - 2, top + cell_height - 2)
    cv2.rectangle(canvas, (left + 1, top + 1), corner, BEST, 2)
