"""One self-contained HTML page from a template of `templates/`, and the data of its parts: tables,
images and a histogram.

Templates escape every text from outside (names of files and slides) and fail at a value that they
lack.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from epsam.data.images import Rgb

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")
PHOTO_QUALITY = 85

# Sizes of the histogram, px: the plot, its margins, and the baseline that the bars stand on.
PLOT_WIDTH, PLOT_HEIGHT = 400, 120
MARGIN, BASELINE = 10, 144


@dataclass(frozen=True)
class PageTable:
    """A table as text: lines (rows, columns); columns of numbers stand to the right.

    summary: where it is not empty, the table is folded below it.
    """

    columns: Sequence[str]
    lines: Sequence[Sequence[str]]
    is_number: Sequence[bool]
    summary: str = ""


@dataclass(frozen=True)
class EmbeddedImage:
    """An image as a data URL, so that the page needs no other file; a wide one keeps its width
    where the screen is narrower.
    """

    caption: str
    source: str
    wide: bool


@dataclass(frozen=True)
class HistogramBar:
    """How many values (count) lie in [low, high); left, top, width, height and centre in px."""

    low: float
    high: float
    count: int
    left: float
    top: float
    width: float
    height: float
    centre: float


@dataclass(frozen=True)
class Histogram:
    """ticks: (x in px, text) of the axis."""

    caption: str
    bars: Sequence[HistogramBar]
    ticks: Sequence[tuple[float, str]]


def render_page(template: str, **values: object) -> str:
    """The page of a template; raises jinja2.UndefinedError if it lacks a value."""
    return load_environment().get_template(template).render(values) + "\n"


def make_table(
    columns: Sequence[str], rows: Sequence[Mapping[str, object]], summary: str = ""
) -> PageTable | None:
    """A table of the named columns; what a row lacks stays empty. None without rows."""
    if not rows:
        return None
    lines = []
    for row in rows:
        lines.append([str(row.get(name, "")) for name in columns])

    # An empty cell does not make a column of numbers one of text.
    is_number = []
    for cells in zip(*lines, strict=True):
        is_number.append(all(_is_number(text) for text in cells if text))
    return PageTable(columns, lines, is_number, summary)


def embed_photo(image: Rgb, caption: str, wide: bool = False) -> EmbeddedImage:
    """An image of tissue, as JPEG."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, PHOTO_QUALITY]
    return EmbeddedImage(caption, _data_url(image, "jpeg", settings), wide)


def embed_drawing(image: Rgb, caption: str) -> EmbeddedImage:
    """An image of lines and letters, as PNG."""
    return EmbeddedImage(caption, _data_url(image, "png", []), wide=True)


def make_histogram(values: Sequence[float], caption: str, bins: int = 20) -> Histogram | None:
    """How many values in 0..1 fall into each of `bins` equal bins; None without values.

    The last bin holds 1 too.
    """
    if not values:
        return None
    counts = np.histogram(np.asarray(values), bins=bins, range=(0.0, 1.0))[0].tolist()
    tallest = max([*counts, 1])
    slot = PLOT_WIDTH / bins

    bars = []
    for number, count in enumerate(counts):
        height = PLOT_HEIGHT * count / tallest
        bar = HistogramBar(
            low=number / bins,
            high=(number + 1) / bins,
            count=count,
            left=number * slot + MARGIN,
            top=BASELINE - height,
            width=slot - 1,
            height=height,
            centre=(number + 0.5) * slot + MARGIN,
        )
        bars.append(bar)

    ticks = [(MARGIN + PLOT_WIDTH * tick, f"{tick:g}") for tick in (0.0, 0.5, 1.0)]
    summary = (
        f"{caption}; lowest {min(values):.3f}, median {np.median(values):.3f}, "
        f"highest {max(values):.3f}"
    )
    return Histogram(summary, bars, ticks)


@cache
def load_environment() -> "Environment":
    # Imported here: only a stage that writes a page needs it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _data_url(image: Rgb, kind: str, settings: list[int]) -> str:
    """The image in a format; kind: "jpeg" or "png"."""
    # OpenCV writes BGR.
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    suffix = {"jpeg": ".jpg", "png": ".png"}[kind]
    content = cv2.imencode(suffix, bgr, settings)[1].tobytes()
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
