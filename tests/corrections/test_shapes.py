"""Corrections become pixels: numbers by hand."""

import numpy as np
import pytest

from epsam.corrections.shapes import (
    NORMAL,
    REVIEWED,
    TUMOUR,
    CorrectedShape,
    CorrectionGroups,
    paint_shapes,
)


def square(meaning, left, top, right, bottom):
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return CorrectedShape(meaning, np.array(corners, float))


def test_only_what_was_reviewed_is_trusted_and_later_shapes_lie_over_earlier_ones():
    shapes = [
        square(REVIEWED, 0, 0, 6, 6),
        square(TUMOUR, 1, 1, 5, 5),
        square(NORMAL, 2, 2, 3, 4),
        # Outside of the reviewed area: whoever draws tumour has looked at it.
        square(TUMOUR, 7, 7, 9, 9),
    ]
    reviewed, tumour = paint_shapes(shapes, 0, 0, 10, 10)
    assert reviewed.sum() == 36 + 4
    assert tumour.sum() == 16 - 2 + 4
    assert not tumour[2, 2]
    assert not tumour[3, 2]
    assert tumour[2, 3]
    assert not reviewed[6, 6]
    assert (reviewed | ~tumour).all()


def test_tumour_drawn_after_an_erased_part_is_tumour_again():
    shapes = [square(TUMOUR, 0, 0, 4, 4), square(NORMAL, 0, 0, 2, 4), square(TUMOUR, 0, 0, 1, 4)]
    assert paint_shapes(shapes, 0, 0, 4, 4).tumour.sum(axis=0).tolist() == [4, 0, 4, 4]


def test_a_region_of_a_slide_in_its_own_pixels():
    # 20 level-0 pixels from (100, 50) on, at half the resolution: the square takes columns 2 to 4
    # and rows 0 to 2 of 10.
    shapes = [square(TUMOUR, 104, 40, 110, 56)]
    reviewed, tumour = paint_shapes(shapes, 100, 50, 10, 10, downsample=2)
    assert np.argwhere(tumour).tolist() == [[r, c] for r in range(3) for c in (2, 3, 4)]
    assert (reviewed == tumour).all()


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("Tumor", TUMOUR),
        ("metastases", TUMOUR),
        ("Other", NORMAL),
        ("Exclusion", NORMAL),
        ("reviewed", REVIEWED),
        ("Region*", REVIEWED),
        # What an annotation takes for a hole says nothing of a correction.
        ("None", ""),
        ("Stroma", ""),
    ],
)
def test_classes_of_qupath_and_groups_of_asap_have_a_meaning(name, meaning):
    assert CorrectionGroups().find_meaning(name) == meaning
