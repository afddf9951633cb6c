"""A slide at a glance: the outlines of what was found, and a bar that tells the scale."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from epsam.data.images import Rgb
from epsam.pictures.panel import PAPER, PREDICTED
from epsam.pictures.text import INK, text_size, write_centred

MARGIN_PX = 8
_FRACTION_BITS = 4
"""Outlines are drawn to 1/16 px."""


def draw_slide_overlay(
    image: Rgb, outlines_xy: Sequence[npt.NDArray[np.float64]], um_per_px: float
) -> Rgb:
    """The picture with closed outlines (n, 2), x and y in its pixels, and a scale bar at the lower
    left.

    `um_per_px` is the size of its pixels, µm.
    """
    drawn: Rgb = np.array(image)
    # A pixel's centre is at a half in our frame and at a whole number in OpenCV's.
    shapes = [
        np.rint((points - 0.5) * 2**_FRACTION_BITS).astype(np.int32) for points in outlines_xy
    ]
    cv2.polylines(drawn, shapes, True, PREDICTED, 2, cv2.LINE_AA, _FRACTION_BITS)
    _draw_bar(drawn, um_per_px)
    return drawn


def bar_length_um(widest_um: float) -> float:
    """The longest of 1, 2, 5, 10, 20 … µm, or of such parts of one, that is no longer than
    `widest_um`.
    """
    power = 10.0 ** np.floor(np.log10(widest_um))
    return float(max(step * power for step in (1, 2, 5) if step * power <= widest_um * (1 + 1e-9)))


def bar_text(length_um: float) -> str:
    """The length in mm from 1 mm on, else in µm (written um: the font has no µ)."""
    return f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} um"


def _draw_bar(image: Rgb, um_per_px: float) -> None:
    length_um = bar_length_um(max(1, image.shape[1] // 4) * um_per_px)
    length_px, text = max(1, round(length_um / um_per_px)), bar_text(length_um)
    width, height = (
        max(length_px, text_size(text)[0]) + 2 * MARGIN_PX,
        text_size(text)[1] + 3 * MARGIN_PX,
    )
    bottom = image.shape[0]
    cv2.rectangle(
        image, (0, bottom - height), (width - 1, bottom - 1), (PAPER, PAPER, PAPER), cv2.FILLED
    )
    write_centred(image, text, width / 2, bottom - height + MARGIN_PX + text_size(text)[1] / 2)
    image[bottom - MARGIN_PX - 3 : bottom - MARGIN_PX, MARGIN_PX : MARGIN_PX + length_px] = INK
