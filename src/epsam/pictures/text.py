"""Text on images, in OpenCV's font: it covers ASCII everywhere, more only in newer versions."""

import cv2

from epsam.data.images import Rgb

Colour = tuple[int, int, int]

FONT = cv2.FONT_HERSHEY_SIMPLEX
INK: Colour = (40, 40, 40)


def text_size(text: str, scale: float = 0.5) -> tuple[int, int]:
    """Width and height of the text, px."""
    (width, height), _ = cv2.getTextSize(text, FONT, scale, 1)
    return int(width), int(height)


def write_centred(
    canvas: Rgb, text: str, x: float, y: float, scale: float = 0.5, colour: Colour = INK
) -> None:
    """Write the text on `canvas`, in place, with its middle at (x, y), px."""
    width, height = text_size(text, scale)
    corner = (round(x - width / 2), round(y + height / 2))
    cv2.putText(canvas, text, corner, FONT, scale, colour, 1, cv2.LINE_AA)
