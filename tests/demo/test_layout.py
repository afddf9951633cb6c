"""Tumour of a made-up slide: annotations that follow the cells."""

import cv2
import numpy as np
import pytest

from demo.layout import fill_regions, plan_layout
from epsam.core.seeding import generator

SHAPE = (640, 800)


@pytest.fixture(scope="module", params=(1, 2, 3))
def layout(request):
    return plan_layout(generator(request.param, "test layout"), SHAPE, with_tumour=True)


def test_the_annotated_tumour_ends_where_the_cells_end(layout):
    # Half of the cells' weight is the visible border; septa belong to tumour, hence the
    # closing.
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (25, 25))
    cells = cv2.morphologyEx((layout.nests > 0.5).astype(np.uint8), cv2.MORPH_CLOSE, disc) > 0
    dice = 2 * (cells & layout.tumour).sum() / (cells.sum() + layout.tumour.sum())
    assert dice > 0.98


def test_a_normal_slide_has_neither_cells_nor_tumour():
    layout = plan_layout(generator(1, "test layout"), SHAPE, with_tumour=False)
    assert not layout.tumour.any()
    assert not layout.nests.any()


@pytest.mark.parametrize("is_large", [False, True])
def test_windows_lie_wholly_inside_of_a_large_tumour_alone(is_large):
    layout = plan_layout(generator(1, "test layout"), (900, 1100), True, is_large)
    sums = cv2.integral(layout.tumour.astype(np.uint8))
    tumour_px = sums[256:, 256:] - sums[:-256, 256:] - sums[256:, :-256] + sums[:-256, :-256]
    assert (tumour_px == 256 * 256).any() == is_large


def test_annotated_regions_lose_small_pieces_and_gaps_but_no_large_gap():
    region = np.zeros((400, 400), bool)
    region[20:320, 20:320] = True
    region[60:70, 60:70] = False
    region[120:240, 120:240] = False
    region[170:190, 170:190] = True
    region[360:380, 360:380] = True
    filled = fill_regions(region)
    assert filled[65, 65]
    assert not filled[180, 180]
    assert not filled[370, 370]
    assert filled[30:310, 30:100].all()
    assert not filled[130:230, 130:230].any()
