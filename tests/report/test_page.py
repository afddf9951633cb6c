import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from jinja2 import UndefinedError

from epsam.report.page import (
    TEMPLATES,
    embed_drawing,
    embed_photo,
    load_environment,
    make_histogram,
    make_table,
    render_page,
)

PARTS = load_environment().get_template("parts.html.j2").module


class Balance(HTMLParser):
    """Fails at a tag that is closed without having been opened, and collects tags and their
    attributes.
    """

    def __init__(self):
        super().__init__()
        self.open, self.tags = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(html):
    reader = Balance()
    reader.feed(html)
    assert reader.open == []
    return reader.tags


@pytest.mark.parametrize("path", sorted(TEMPLATES.iterdir()), ids=lambda path: path.name)
def test_no_template_has_anything_active_or_from_elsewhere(path):
    text = path.read_text("utf-8")
    assert not re.search(r"https?://|<(script|link|iframe)|\bsafe\b|autoescape", text)


@pytest.mark.parametrize("template", ["training.html.j2", "inference.html.j2"])
def test_a_page_without_its_values_is_an_error(template):
    with pytest.raises(UndefinedError, match="'warnings' is undefined"):
        render_page(template, title="a")


def test_names_from_outside_cannot_become_markup():
    hostile = '<script>alert("x")</script>\'" onload=x'
    image = np.zeros((8, 12, 3), np.uint8)
    page = str(
        PARTS.table(make_table([hostile], [{hostile: hostile}], hostile))
        + PARTS.warning_list([hostile])
        + PARTS.figure(embed_photo(image, hostile))
        + PARTS.histogram(make_histogram([0.5], hostile))
    )
    assert "<script" not in page
    # Summary, column, cell, warning, text instead of the image, and two captions.
    assert page.count("&lt;script&gt;") == 7
    (attributes,) = [attributes for tag, attributes in parsed(page) if tag == "img"]
    assert list(attributes) == ["alt", "src"]
    assert attributes["alt"] == hostile


def test_a_table_leaves_empty_what_a_row_lacks_and_puts_numbers_to_the_right():
    html = PARTS.table(make_table(["a", "b"], [{"a": "text", "b": 0.5}, {"a": "more"}]))
    assert re.findall(r"<td[^>]*>[^<]*</td>", html) == [
        "<td>text</td>",
        '<td class="number">0.5</td>',
        "<td>more</td>",
        '<td class="number"></td>',
    ]
    mixed = PARTS.table(make_table(["a", "b"], [{"a": "0.5", "b": "x" * 40}, {"a": "none"}]))
    assert re.findall(r"<td[^>]*>", mixed) == ["<td>", '<td class="long">', "<td>", "<td>"]
    assert make_table(["a"], []) is None
    assert PARTS.table(None) == ""


def test_images_are_embedded_in_the_page():
    image = np.zeros((8, 12, 3), np.uint8)
    image[:, :, 0] = 200
    for embed, kind in ((embed_photo, "jpeg"), (embed_drawing, "png")):
        html = PARTS.figure(embed(image, "a < b"))
        ((_, attributes),) = [tag for tag in parsed(html) if tag[0] == "img"]
        head, content = attributes["src"].split(",")
        assert head == f"data:image/{kind};base64"
        decoded = cv2.imdecode(
            np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR
        )[:, :, ::-1]
        assert np.abs(decoded.astype(int) - image).max() < 12
        assert attributes["alt"] == "a < b"


def test_a_histogram_counts_every_value_once():
    html = PARTS.histogram(make_histogram([0.0, 0.04, 0.5, 1.0], "Dice", bins=10))
    counts = [int(number) for number in re.findall(r"<title>[^:]*: (\d+)</title>", html)]
    assert counts == [2, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert "Dice; lowest 0.000, median 0.270, highest 1.000" in html
    assert re.findall(r'font-size="10"[^>]*>(\d+)<', html) == ["2", "1", "1"]
    # Bars stand on the baseline; the first, of two values, is as high as the plot.
    bars = [attributes for tag, attributes in parsed(html) if tag == "rect"]
    assert [bar["x"] for bar in bars[:3]] == ["10.0", "50.0", "90.0"]
    assert (bars[0]["y"], bars[0]["height"], bars[0]["width"]) == ("24.0", "120.0", "39.0")
    assert (bars[5]["y"], bars[5]["height"]) == ("84.0", "60.0")
    assert make_histogram([], "none") is None
    assert PARTS.histogram(None) == ""
