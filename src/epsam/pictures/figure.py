"""Matplotlib figures as RGB images: without pyplot, so that no figure and no setting is global."""

from typing import TYPE_CHECKING

import numpy as np

from epsam.data.images import Rgb
from epsam.pictures.text import Colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
POINTS_PER_INCH = 72


def make_figure(height_px: int, width_px: int) -> "Figure":
    """A white figure of this size, px."""
    # Imported here: Matplotlib takes half a second, and most of a stage draws nothing.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_px / DPI, height_px / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def render_figure(figure: "Figure") -> Rgb:
    """The figure as an image (height, width, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    rgba = np.asarray(canvas.buffer_rgba())
    return np.array(rgba[:, :, :3])


def to_points(pixels: float) -> float:
    """A width in points, the unit of Matplotlib's lines and letters."""
    return pixels * POINTS_PER_INCH / DPI


def to_fractions(colour: Colour) -> tuple[float, float, float]:
    """A colour of 0..255 as Matplotlib's of 0..1."""
    red, green, blue = colour
    return red / 255, green / 255, blue / 255
