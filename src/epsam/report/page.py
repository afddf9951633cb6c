"""One self-contained HTML page: text, tables, images and a histogram, without scripts or network.

Every text from outside (names of files and slides) is escaped.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape

import cv2
import numpy as np

from epsam.data.images import Rgb

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem;
  overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: left; vertical-align: top; \
border-bottom: 1px solid #8886;
  white-space: nowrap; }
td.number, th.number { text-align: right; }
td.long { white-space: normal; min-width: 16rem; }
figure { margin: 1rem 0; } img, svg { max-width: 100%; height: auto; background: #fff; }
.wide img { min-width: 40rem; }
figcaption { font-size: .9rem; opacity: .8; }
summary { cursor: pointer; margin: .5rem 0; }
.warning { border-left: .3rem solid #d55e00; padding-left: .6rem; }
"""
PHOTO_QUALITY = 85
LONG_TEXT = 40
"""This project: characters from which a cell's text is broken into lines."""

# Sizes of the histogram, px: the plot, its margins, and the baseline that the bars stand on.
PLOT_WIDTH, PLOT_HEIGHT = 400, 120
MARGIN, BASELINE = 10, 144


def render_page(title: str, sections: Sequence[tuple[str, str]]) -> str:
    """A whole page of (heading, HTML) sections; sections without content are left out."""
    body = [f"<h1>{escape(title)}</h1>"]
    for heading, content in sections:
        if content:
            body.append(f"<section><h2>{escape(heading)}</h2>\n{content}\n</section>")

    # No script, no style sheet and no font from elsewhere: the page works without a network.
    head = (
        '<meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
    )
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>'
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def render_paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def render_warnings(messages: Sequence[str]) -> str:
    """Warnings, one below the other; empty without any."""
    return "\n".join(f'<p class="warning">{escape(message)}</p>' for message in messages)


def render_table(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    """A table of the named columns; what a row lacks stays empty, columns of numbers stand to the
    right.

    Empty without rows.
    """
    if not rows:
        return ""
    lines = []
    for row in rows:
        lines.append([str(row.get(name, "")) for name in columns])

    # An empty cell does not make a column of numbers one of text.
    is_number = []
    for cells in zip(*lines, strict=True):
        is_number.append(all(_is_number(text) for text in cells if text))

    head = _render_line("th", columns, is_number)
    body = "\n".join(_render_line("td", line, is_number) for line in lines)
    return f'<div class="wide"><table><thead>{head}</thead>\n<tbody>{body}</tbody></table></div>'


def render_folded(summary: str, body: str) -> str:
    """Content that a click on its summary unfolds; empty without a body."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>" if body else ""


def embed_photo(image: Rgb, caption: str, wide: bool = False) -> str:
    """An image of tissue, as JPEG within the page; a wide one keeps its width where the screen is
    narrower.
    """
    return _embed_image(image, caption, "jpeg", [cv2.IMWRITE_JPEG_QUALITY, PHOTO_QUALITY], wide)


def embed_drawing(image: Rgb, caption: str) -> str:
    """An image of lines and letters, as PNG within the page."""
    return _embed_image(image, caption, "png", [], wide=True)


def draw_histogram(values: Sequence[float], caption: str, bins: int = 20) -> str:
    """A drawing (SVG) of how many values in 0..1 fall into each of `bins` equal bins; empty without
    values.

    The last bin holds 1 too.
    """
    if not values:
        return ""
    counts = np.histogram(np.asarray(values), bins=bins, range=(0.0, 1.0))[0].tolist()
    tallest = max([*counts, 1])
    width = PLOT_WIDTH / bins

    bars = []
    labels = []
    for number, count in enumerate(counts):
        top = BASELINE - PLOT_HEIGHT * count / tallest
        bars.append(
            f'<rect x="{number * width + MARGIN:.1f}" y="{top:.1f}" '
            f'width="{width - 1:.1f}" height="{BASELINE - top:.1f}" fill="#0072b2">'
            f"<title>{number / bins:.2f} to {(number + 1) / bins:.2f}: {count}</title></rect>"
        )
        # A row of zeros would say no more than the missing bars.
        if count:
            labels.append(_draw_label(MARGIN + (number + 0.5) * width, top - 4, str(count), 10))
    axis = []
    for tick in (0.0, 0.5, 1.0):
        axis.append(_draw_label(MARGIN + PLOT_WIDTH * tick, 162, f"{tick:g}", 12))

    summary = (
        f"{caption}; lowest {min(values):.3f}, median {np.median(values):.3f}, "
        f"highest {max(values):.3f}"
    )
    return (
        '<figure><svg viewBox="0 0 420 170" width="420" role="img">'
        f"{''.join([*bars, *labels, *axis])}</svg>"
        f"<figcaption>{escape(summary)}</figcaption></figure>"
    )


def _draw_label(x: float, y: float, text: str, size: int) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="middle">{text}</text>'


def _embed_image(image: Rgb, caption: str, kind: str, settings: list[int], wide: bool) -> str:
    """An image as a data URL, so that the page needs no other file. kind: "jpeg" or "png"."""
    # OpenCV writes BGR.
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    suffix = {"jpeg": ".jpg", "png": ".png"}[kind]
    content = cv2.imencode(suffix, bgr, settings)[1].tobytes()
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"

    element = f'<img alt="{escape(caption)}" src="{source}">'
    # Scrolls by itself on a narrow screen, so that the page does not.
    if wide:
        element = f'<div class="wide">{element}</div>'
    return f"<figure>{element}<figcaption>{escape(caption)}</figcaption></figure>"


def _render_line(tag: str, cells: Sequence[str], is_number: Sequence[bool]) -> str:
    """A line of a table; tag: "th" or "td"."""
    elements = []
    for text, in_number_column in zip(cells, is_number, strict=True):
        kind = ""
        if in_number_column:
            kind = ' class="number"'
        elif len(text) >= LONG_TEXT:
            kind = ' class="long"'
        elements.append(f"<{tag}{kind}>{escape(text)}</{tag}>")
    return f"<tr>{''.join(elements)}</tr>"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
