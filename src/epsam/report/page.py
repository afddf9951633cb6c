"""One self-contained HTML page: text, tables, pictures and a histogram, without scripts or network.

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
th, td { padding: .25rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid #8886;
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
"""Ours: characters from which a cell's text is broken into lines."""


def document(title: str, sections: Sequence[tuple[str, str]]) -> str:
    """A whole page of (heading, HTML) sections; sections without content are left out."""
    parts = [
        f"<section><h2>{escape(heading)}</h2>\n{body}\n</section>"
        for heading, body in sections
        if body
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
    )
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts])
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}\n</body></html>\n'


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def warnings_list(messages: Sequence[str]) -> str:
    """Warnings, one below the other; empty without any."""
    return "\n".join(f'<p class="warning">{escape(message)}</p>' for message in messages)


def table(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    """A table of the named columns; what a row lacks stays empty, columns of numbers stand to the
    right.

    Empty without rows.
    """
    if not rows:
        return ""
    lines = [[str(row.get(name, "")) for name in columns] for row in rows]
    right = [all(map(_is_number, filter(None, cells))) for cells in zip(*lines, strict=True)]
    head = _line("th", columns, right)
    body = "\n".join(_line("td", line, right) for line in lines)
    return f'<div class="wide"><table><thead>{head}</thead>\n<tbody>{body}</tbody></table></div>'


def folded(summary: str, body: str) -> str:
    """Something that a click on its summary unfolds; empty without a body."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>" if body else ""


def photo(image: Rgb, caption: str, wide: bool = False) -> str:
    """A picture of tissue, as JPEG within the page; a wide one keeps its width where the screen is
    narrower.
    """
    return _figure(image, caption, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, PHOTO_QUALITY], wide)


def drawing(image: Rgb, caption: str) -> str:
    """A picture of lines and letters, as PNG within the page."""
    return _figure(image, caption, ".png", [], wide=True)


def histogram(values: Sequence[float], caption: str, bins: int = 20) -> str:
    """How often values in 0..1 fall into each of `bins` equal bins, as a drawing; empty without
    values.

    The last bin holds 1 too.
    """
    if not values:
        return ""
    counts = np.histogram(np.asarray(values), bins=bins, range=(0.0, 1.0))[0].tolist()
    width, height, tallest = 400 / bins, 120, max([*counts, 1])
    tops = [height + 24 - height * count / tallest for count in counts]
    bars = [
        f'<rect x="{number * width + 10:.1f}" y="{top:.1f}" width="{width - 1:.1f}" height="{144 - top:.1f}" '
        f'fill="#0072b2"><title>{number / bins:.2f} to {(number + 1) / bins:.2f}: {count}</title></rect>'
        for number, (count, top) in enumerate(zip(counts, tops, strict=True))
    ]
    labels = [
        _label(10 + (number + 0.5) * width, top - 4, str(count), 10)
        for number, (count, top) in enumerate(zip(counts, tops, strict=True))
        if count
    ]
    axis = [_label(10 + 400 * share, 162, f"{share:g}", 12) for share in (0.0, 0.5, 1.0)]
    told = f"{caption}; lowest {min(values):.3f}, median {np.median(values):.3f}, highest {max(values):.3f}"
    return (
        f'<figure><svg viewBox="0 0 420 170" width="420" role="img">{"".join([*bars, *labels, *axis])}</svg>'
        f"<figcaption>{escape(told)}</figcaption></figure>"
    )


def _label(x: float, y: float, text: str, size: int) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="middle">{text}</text>'


def _figure(image: Rgb, caption: str, suffix: str, settings: list[int], wide: bool) -> str:
    content = cv2.imencode(suffix, np.ascontiguousarray(image[:, :, ::-1]), settings)[1].tobytes()
    kind = "jpeg" if suffix == ".jpg" else "png"
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    shown = f'<img alt="{escape(caption)}" src="{source}">'
    if wide:
        shown = f'<div class="wide">{shown}</div>'
    return f"<figure>{shown}<figcaption>{escape(caption)}</figcaption></figure>"


def _line(tag: str, cells: Sequence[str], right: Sequence[bool]) -> str:
    kinds = [
        ' class="number"' if number else ' class="long"' if len(text) >= LONG_TEXT else ""
        for text, number in zip(cells, right, strict=True)
    ]
    return (
        "<tr>"
        + "".join(
            f"<{tag}{kind}>{escape(text)}</{tag}>" for text, kind in zip(cells, kinds, strict=True)
        )
        + "</tr>"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
