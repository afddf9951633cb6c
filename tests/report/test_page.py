import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np

from epsam.report.page import (
    draw_histogram,
    embed_drawing,
    embed_photo,
    render_page,
    render_table,
    render_warnings,
)


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


def test_a_page_is_self_contained():
    page = render_page(
        "A run", [("Scores", render_table(["what"], [{"what": "a"}])), ("Nothing", "")]
    )
    tags = parsed(page)
    assert "Nothing" not in page
    assert not [tag for tag, _ in tags if tag in ("script", "link", "iframe")]
    assert not re.search(r"https?://", page)


def test_names_from_outside_cannot_become_markup():
    hostile = '<script>alert("x")</script>'
    page = render_page(
        hostile,
        [(hostile, render_table([hostile], [{hostile: hostile}]) + render_warnings([hostile]))],
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 6  # title twice, heading, column, cell, warning


def test_a_table_leaves_empty_what_a_row_lacks_and_puts_numbers_to_the_right():
    html = render_table(["a", "b"], [{"a": "text", "b": 0.5}, {"a": "more"}])
    assert re.findall(r"<td[^>]*>[^<]*</td>", html) == [
        "<td>text</td>",
        '<td class="number">0.5</td>',
        "<td>more</td>",
        '<td class="number"></td>',
    ]
    mixed = render_table(["a", "b"], [{"a": "0.5", "b": "x" * 40}, {"a": "none"}])
    assert re.findall(r"<td[^>]*>", mixed) == ["<td>", '<td class="long">', "<td>", "<td>"]
    assert render_table(["a"], []) == ""


def test_images_are_embedded_in_the_page():
    image = np.zeros((8, 12, 3), np.uint8)
    image[:, :, 0] = 200
    for embed, kind in ((embed_photo, "jpeg"), (embed_drawing, "png")):
        ((_, attributes),) = [tag for tag in parsed(embed(image, "a < b")) if tag[0] == "img"]
        head, content = attributes["src"].split(",")
        assert head == f"data:image/{kind};base64"
        decoded = cv2.imdecode(
            np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR
        )[:, :, ::-1]
        assert np.abs(decoded.astype(int) - image).max() < 12
        assert attributes["alt"] == "a < b"


def test_a_histogram_counts_every_value_once():
    html = draw_histogram([0.0, 0.04, 0.5, 1.0], "Dice", bins=10)
    counts = [int(number) for number in re.findall(r"<title>[^:]*: (\d+)</title>", html)]
    assert counts == [2, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert "Dice; lowest 0.000, median 0.270, highest 1.000" in html
    assert re.findall(r'font-size="10"[^>]*>(\d+)<', html) == ["2", "1", "1"]
    assert draw_histogram([], "none") == ""
