"""Where tumour lies on a made-up slide: outlines that follow the cells that are drawn."""

import cv2
import numpy as np
import pytest

from demo.layout import fill_regions, plan_layout
from epsam.core.seeding import generator

SHAPE = (640, 800)


@pytest.fixture(scope="module", params=(1, 2, 3))
def layout(request):
    return plan_layout(generator(request.param, "test layout"), SHAPE, with_tumour=True)


def test_the_outline_runs_where_the_cells_end(layout):
    # Half of the cells' weight is the border that one sees; septa belong to tumour, hence the
    # closing.
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (25, 25))
    seen = cv2.morphologyEx((layout.nests > 0.5).astype(np.uint8), cv2.MORPH_CLOSE, disc) > 0
    dice = 2 * (seen & layout.tumour).sum() / (seen.sum() + layout.tumour.sum())
    assert dice > 0.98


def test_a_normal_slide_has_neither_cells_nor_outline():
    layout = plan_layout(generator(1, "test layout"), SHAPE, with_tumour=False)
    assert not layout.tumour.any()
    assert not layout.nests.any()


def test_outlined_drops_specks_fills_gaps_and_keeps_real_holes():
    region = np.zeros((400, 400), bool)
    region[20:320, 20:320] = True
    region[60:70, 60:70] = False
    region[120:240, 120:240] = False
    region[170:190, 170:190] = True
    region[360:380, 360:380] = True
    kept = fill_regions(region)
    assert kept[65, 65]
    assert not kept[180, 180]
    assert not kept[370, 370]
    assert kept[30:310, 30:100].all()
    assert not kept[130:230, 130:230].any()
