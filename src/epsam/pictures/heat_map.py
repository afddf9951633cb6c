"""A table of numbers as a picture: each cell coloured by its value, the value written on it."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from epsam.data.images import Rgb
from epsam.pictures.text import Colour, write_centred, write_left, write_right

CELL = (34, 66)
"""Height and width of a cell, px."""
TOP, LEFT, BOTTOM, RIGHT = 40, 76, 52, 16
DARK_BELOW = 0.6
"""Share of the range below which viridis is dark enough for white figures."""


def draw_heat_map(
    values: npt.NDArray[np.floating],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    row_name: str,
    column_name: str,
) -> Rgb:
    """A picture of `values` (rows, columns), the first row on top; the highest value is framed."""
    height, width = TOP + CELL[0] * len(rows) + BOTTOM, LEFT + CELL[1] * len(columns) + RIGHT
    canvas = np.full((height, max(width, LEFT + 8 * len(title)), 3), 255, np.uint8)
    write_left(canvas, title, 8, TOP / 2, 0.45)
    shares = _shares(values)
    colours = cv2.applyColorMap(np.rint(shares * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[
        :, :, ::-1
    ]
    for row, column in np.ndindex(values.shape):
        top, left = TOP + CELL[0] * row, LEFT + CELL[1] * column
        canvas[top : top + CELL[0], left : left + CELL[1]] = colours[row, column]
        ink: Colour = (255, 255, 255) if shares[row, column] < DARK_BELOW else (0, 0, 0)
        write_centred(
            canvas, f"{values[row, column]:.3f}", left + CELL[1] / 2, top + CELL[0] / 2, 0.42, ink
        )
    _frame_best(canvas, values)
    for row, name in enumerate(rows):
        write_right(canvas, name, LEFT - 8, TOP + CELL[0] * (row + 0.5), 0.45)
    for column, name in enumerate(columns):
        write_centred(canvas, name, LEFT + CELL[1] * (column + 0.5), height - BOTTOM + 14, 0.45)
    write_left(canvas, row_name, 8, height - BOTTOM + 14, 0.45)
    write_centred(canvas, column_name, LEFT + CELL[1] * len(columns) / 2, height - 14, 0.45)
    return canvas


def _shares(values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Where each value lies between the least (0) and the greatest (1); equal values, and what is
    no number, at 0.
    """
    finite = np.nan_to_num(values, nan=np.nanmin(values) if np.isfinite(values).any() else 0.0)
    span = finite.max() - finite.min()
    return np.asarray((finite - finite.min()) / span if span > 0 else np.zeros_like(finite))


def _frame_best(canvas: Rgb, values: npt.NDArray[np.floating]) -> None:
    if np.isfinite(values).any():
        row, column = np.unravel_index(np.nanargmax(values), values.shape)
        left, top = LEFT + CELL[1] * int(column), TOP + CELL[0] * int(row)
        cv2.rectangle(
            canvas, (left + 1, top + 1), (left + CELL[1] - 2, top + CELL[0] - 2), (220, 30, 30), 2
        )
