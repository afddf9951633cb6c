import numpy as np
import pytest

from epsam.pictures.slide_overlay import bar_length_um, bar_text, draw_slide_overlay
from epsam.pictures.text import INK


@pytest.mark.parametrize(
    ("widest", "length", "text"),
    [
        (999, 500, "500 um"),
        (1000, 1000, "1 mm"),
        (2600, 2000, "2 mm"),
        (73, 50, "50 um"),
        (0.7, 0.5, "0.5 um"),
    ],
)
def test_bars_are_one_two_or_five(widest, length, text):
    assert bar_length_um(widest) == pytest.approx(length)
    assert bar_text(length) == text


def test_the_bar_is_as_long_as_it_says():
    image = np.full((200, 400, 3), 200, np.uint8)
    drawn = draw_slide_overlay(image, [], 8.0)
    assert (image == 200).all()
    rows, columns = np.nonzero((drawn == INK).all(axis=2))
    bar = columns[rows == rows.max()]
    assert bar.max() - bar.min() + 1 == round(500 / 8.0)


def test_contours_are_drawn_at_their_coordinates():
    contour = np.array([(100.0, 50), (300, 50), (300, 120), (100, 120)])
    drawn = draw_slide_overlay(np.full((200, 400, 3), 255, np.uint8), [contour], 8.0)
    for x, y, is_line in (
        (200, 50, True),
        (299, 80, True),
        (200, 80, False),
        (200, 40, False),
        (90, 80, False),
    ):
        assert (drawn[y, x] != 255).any() == is_line


def test_an_image_narrower_than_the_text_is_drawn_too():
    assert draw_slide_overlay(np.full((10, 12, 3), 255, np.uint8), [], 0.5).shape == (10, 12, 3)
