import numpy as np
import pytest

from epsam.annotations.contours import ContourTracer
from epsam.annotations.polygons import rasterize_tumour
from epsam.annotations.regions import leave_out_small_regions, list_regions


def rings_of(mask):
    tracer = ContourTracer(mask.shape[1])
    tracer.add(mask)
    return tracer.trace_rings()


def filled(rings, shape):
    mask = np.zeros(shape, bool)
    for region in list_regions(rings):
        mask |= rasterize_tumour(region.shape, 0, 0, shape[1], shape[0])
    return mask


@pytest.fixture
def nested():
    """A thin ring of 224 px; in its hole an island of 400 px with a hole of 4 px, and a dot."""
    mask = np.zeros((40, 40), bool)
    mask[4:33, 4:33] = True
    mask[6:31, 6:31] = False
    mask[8:28, 8:28] = True
    mask[10:12, 10:12] = False
    mask[36, 36] = True
    return mask


def test_small_regions_go_with_their_holes_and_what_lies_in_these_stays(nested):
    rings = rings_of(nested)
    assert [ring.parent for ring in rings] == [-1, 0, 1, 2, -1]
    expected = nested.copy()
    expected[36, 36] = False
    without_dot = leave_out_small_regions(rings, 100)
    assert np.array_equal(filled(without_dot, nested.shape), expected)
    assert [ring.parent for ring in without_dot] == [-1, 0, 1, 2]

    # The ring is thinner than its island is large: 29² − 25² = 216 px against 20² − 4 = 396.
    expected[4:33, 4:33] = False
    expected[8:28, 8:28] = nested[8:28, 8:28]
    island = leave_out_small_regions(rings, 300)
    assert np.array_equal(filled(island, nested.shape), expected)
    assert [(ring.is_hole, ring.parent) for ring in island] == [(False, -1), (True, 0)]
    assert leave_out_small_regions(rings, 0) == rings
    assert leave_out_small_regions(rings, 1000) == []


def test_area_perimeter_and_centre_by_hand(nested):
    ring, island, dot = list_regions(rings_of(nested))
    assert (ring.number, island.number, dot.name) == (1, 2, "region 3")
    # Contours cut corners: an eighth of a pixel at each of the eight.
    assert ring.area_px2 == pytest.approx(29**2 - 25**2, abs=1)
    # Straight sides, and four corners cut by a diagonal of √½ instead of two halves.
    assert ring.perimeter_px == pytest.approx(4 * 28 + 4 * 0.5**0.5, abs=0.5)
    assert ring.centre_xy == (18.5, 18.5)
    assert dot.area_px2 == pytest.approx(0.5)


def test_an_id_is_that_of_slide_and_number_in_every_run(nested):
    first, second, _ = list_regions(rings_of(nested))
    again = list_regions(rings_of(nested))[0]
    assert first.id_on("a") == again.id_on("a")
    assert len({first.id_on("a"), first.id_on("b"), second.id_on("a")}) == 3
