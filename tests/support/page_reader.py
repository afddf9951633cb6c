"""A page of ours as a browser without JavaScript shows it: its sections by heading."""

import base64
from dataclasses import dataclass, field
from html.parser import HTMLParser

import cv2
import numpy as np

ASKING = ("src", "href", "srcset", "data", "action", "poster", "background", "xlink:href")
"""Attributes at which a browser fetches something, now or at a click."""
ACTIVE = ("script", "link", "iframe", "object", "embed", "form", "base")


@dataclass
class Section:
    """Table rows as lists of cells, warnings, pictures as (text instead of it, RGB), and all of the
    text.
    """

    rows: list[list[str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    pictures: list[tuple[str, np.ndarray]] = field(default_factory=list)
    drawings: int = 0
    text: str = ""


class Page(HTMLParser):
    """Fails at whatever is active or would be fetched from elsewhere; `sections` by heading."""

    def __init__(self, html):
        super().__init__()
        self.sections, self._open, self._here = {}, [], Section()
        assert "url(" not in html
        assert "@import" not in html
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        assert tag not in ACTIVE
        assert not [name for name in values if name.startswith("on") or name == "http-equiv"]
        assert all(values[name].startswith("data:") for name in ASKING if name in values)
        self._open = [*self._open, (tag, values.get("class"))]
        if tag == "tr":
            self._here.rows.append([])
        if tag in ("th", "td"):
            self._here.rows[-1].append("")
        if values.get("class") == "warning":
            self._here.warnings.append("")
        if tag == "svg":
            self._here.drawings += 1
        if tag == "img":
            content = np.frombuffer(base64.b64decode(values["src"].split(",")[1]), np.uint8)
            self._here.pictures.append(
                (values["alt"], cv2.imdecode(content, cv2.IMREAD_COLOR)[:, :, ::-1])
            )

    def handle_endtag(self, tag):
        while self._open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        tag, kind = self._open[-1] if self._open else ("", None)
        if tag == "h2":
            self._here = self.sections.setdefault(data, Section())
        if tag in ("th", "td"):
            self._here.rows[-1][-1] += data
        if kind == "warning":
            self._here.warnings[-1] += data
        self._here.text += data
