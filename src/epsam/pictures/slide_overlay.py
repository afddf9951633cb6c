"""A slide at a glance: the contours of its mask, and a scale bar."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from epsam.data.images import Rgb
from epsam.pictures.panel import PAPER, PREDICTED
from epsam.pictures.text import INK, text_size, write_centred

MARGIN_PX = 8
BAR_PX = 3
_FRACTION_BITS = 4
"""Contours are drawn to 1/16 px."""


def draw_slide_overlay(
    image: Rgb, contours_xy: Sequence[npt.NDArray[np.float64]], um_per_px: float
) -> Rgb:
    """The image with closed contours (n, 2), x and y in its pixels, and a scale bar at the lower
    left.

    `um_per_px` is the size of its pixels, µm.
    """
    canvas: Rgb = np.array(image)
    polygons = []
    for points in contours_xy:
        # A pixel's centre is at a half in our frame and at a whole number in OpenCV's.
        fixed_point = (points - 0.5) * 2**_FRACTION_BITS
        polygons.append(np.rint(fixed_point).astype(np.int32))
    cv2.polylines(canvas, polygons, True, PREDICTED, 2, cv2.LINE_AA, _FRACTION_BITS)

    _draw_scale_bar(canvas, um_per_px)
    return canvas


def bar_length_um(widest_um: float) -> float:
    """The longest of 1, 2, 5, 10, 20 … µm, or of tenths of them, that is no longer than
    `widest_um`.
    """
    power = 10.0 ** np.floor(np.log10(widest_um))
    # The slack forgives rounding, so that a length equal to the widest fits.
    lengths = [step * power for step in (1, 2, 5) if step * power <= widest_um * (1 + 1e-9)]
    return float(max(lengths))


def bar_text(length_um: float) -> str:
    """The length in mm from 1 mm on, else in µm (written um: the font has no µ)."""
    return f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} um"


def _draw_scale_bar(canvas: Rgb, um_per_px: float) -> None:
    """Draw a bar of at most a quarter of the width on a white box, its length above it."""
    widest_px = max(1, canvas.shape[1] // 4)
    length_um = bar_length_um(widest_px * um_per_px)
    length_px = max(1, round(length_um / um_per_px))
    text = bar_text(length_um)
    text_width, text_height = text_size(text)

    bottom = canvas.shape[0]
    width = max(length_px, text_width) + 2 * MARGIN_PX
    top = bottom - (text_height + 3 * MARGIN_PX)
    cv2.rectangle(canvas, (0, top), (width - 1, bottom - 1), (PAPER, PAPER, PAPER), cv2.FILLED)
    write_centred(canvas, text, width / 2, top + MARGIN_PX + text_height / 2)

    bar_bottom = bottom - MARGIN_PX
    canvas[bar_bottom - BAR_PX : bar_bottom, MARGIN_PX : MARGIN_PX + length_px] = INK
