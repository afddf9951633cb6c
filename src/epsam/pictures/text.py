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
    write_from(canvas, text, x - width / 2, y, scale, colour, height)


def write_right(
    canvas: Rgb, text: str, x: float, y: float, scale: float = 0.5, colour: Colour = INK
) -> None:
    """Write the text so that it ends at x, its middle at the height y."""
    width, height = text_size(text, scale)
    write_from(canvas, text, x - width, y, scale, colour, height)


def write_left(
    canvas: Rgb, text: str, x: float, y: float, scale: float = 0.5, colour: Colour = INK
) -> None:
    """Write the text so that it begins at x, its middle at the height y."""
    write_from(canvas, text, x, y, scale, colour, text_size(text, scale)[1])


def write_from(
    canvas: Rgb, text: str, x: float, y: float, scale: float, colour: Colour, height: int
) -> None:
    """Write the text of this height from x on, its middle at the height y."""
    cv2.putText(
        canvas, text, (round(x), round(y + height / 2)), FONT, scale, colour, 1, cv2.LINE_AA
    )
