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
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: left; border-bottom: 1px solid #8886; white-space: nowrap; }
td.number, th.number { text-align: right; }
figure { margin: 1rem 0; } img, svg { max-width: 100%; height: auto; background: #fff; }
figcaption { font-size: .9rem; opacity: .8; }
.warning { border-left: .3rem solid #d55e00; padding-left: .6rem; }
"""
PHOTO_QUALITY = 85


def document(title: str, sections: Sequence[tuple[str, str]]) -> str:
    """A whole page of (heading, HTML) sections; sections without content are left out."""
    parts = [f"<section><h2>{escape(heading)}</h2>\n{body}\n</section>" for heading, body in sections if body]
    head = ('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(title)}</title><style>{STYLE}</style>")
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts])
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}\n</body></html>\n'


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def warnings_list(messages: Sequence[str]) -> str:
    """Warnings, one below the other; empty without any."""
    return "\n".join(f'<p class="warning">{escape(message)}</p>' for message in messages)


def table(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    """A table of the named columns; what a row lacks stays empty, numbers stand to the right. Empty without rows."""
    if not rows:
        return ""
    head = "".join(f"<th{_number_class(rows[0].get(name, ''))}>{escape(name)}</th>" for name in columns)
    lines = []
    for row in rows:
        cells = [(str(row.get(name, "")), _number_class(row.get(name, ""))) for name in columns]
        lines.append("<tr>" + "".join(f"<td{kind}>{escape(text)}</td>" for text, kind in cells) + "</tr>")
    return (f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>' + "\n".join(lines)
            + "</tbody></table></div>")


def photo(image: Rgb, caption: str) -> str:
    """A picture of tissue, as JPEG within the page."""
    return _figure(image, caption, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, PHOTO_QUALITY])


def drawing(image: Rgb, caption: str) -> str:
    """A picture of lines and letters, as PNG within the page."""
    return _figure(image, caption, ".png", [])


def histogram(values: Sequence[float], caption: str, bins: int = 20) -> str:
    """How often values in 0..1 fall into each of `bins` equal bins, as a drawing; empty without values.

    The last bin holds 1 too.
    """
    if not values:
        return ""
    counts = np.histogram(np.asarray(values), bins=bins, range=(0.0, 1.0))[0].tolist()
    width, height, tallest = 400 / bins, 120, max([*counts, 1])
    bars = [f'<rect x="{number * width + 10:.1f}" y="{height + 10 - height * count / tallest:.1f}" '
            f'width="{width - 1:.1f}" height="{height * count / tallest:.1f}" fill="#0072b2">'
            f"<title>{number / bins:.2f} to {(number + 1) / bins:.2f}: {count}</title></rect>"
            for number, count in enumerate(counts)]
    labels = [f'<text x="{10 + 400 * share:.0f}" y="148" font-size="12" text-anchor="middle">{share:g}</text>'
              for share in (0.0, 0.5, 1.0)]
    return (f'<figure><svg viewBox="0 0 420 155" width="420" role="img">{"".join(bars)}{"".join(labels)}</svg>'
            f"<figcaption>{escape(caption)}</figcaption></figure>")


def _figure(image: Rgb, caption: str, suffix: str, settings: list[int]) -> str:
    content = cv2.imencode(suffix, np.ascontiguousarray(image[:, :, ::-1]), settings)[1].tobytes()
    kind = "jpeg" if suffix == ".jpg" else "png"
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    return f'<figure><img alt="{escape(caption)}" src="{source}"><figcaption>{escape(caption)}</figcaption></figure>'


def _number_class(value: object) -> str:
    try:
        float(str(value))
    except ValueError:
        return ""
    return ' class="number"'
