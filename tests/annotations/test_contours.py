import numpy as np
import pytest

from epsam.annotations.contours import ContourTracer, largest_diameter, signed_area
from epsam.annotations.polygons import Annotations, rasterize_tumour


def trace(mask, rows=7):
    tracer = ContourTracer(mask.shape[1])
    for top in range(0, mask.shape[0], rows):
        tracer.add(mask[top : top + rows])
    return tracer.trace_rings()


def fill_rings(rings, shape):
    """Even-odd over all rings: each ring flips what lies inside."""
    mask = np.zeros(shape, bool)
    for ring in rings:
        mask ^= rasterize_tumour(Annotations([ring.points_xy]), 0, 0, shape[1], shape[0])
    return mask


def speckle(seed, shape=(40, 53)):
    rng = np.random.default_rng(seed)
    coarse = rng.random((shape[0] // 4 + 1, shape[1] // 4 + 1)) < 0.5
    mask = np.kron(coarse, np.ones((4, 4), bool))[: shape[0], : shape[1]]
    return mask ^ (rng.random(shape) < rng.choice([0.02, 0.2, 0.5]))


def contains(outer, inner):
    """Whether a corner of one ring lies in another one, by the ray rule."""
    x, y = inner[0] + (1e-3, 1.7e-3)
    inside = False
    for (x1, y1), (x2, y2) in zip(outer, np.roll(outer, -1, axis=0), strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            inside = not inside
    return inside


def test_a_box_and_its_hole():
    mask = np.zeros((12, 20), bool)
    mask[2:10, 3:15] = True
    mask[4:7, 5:9] = False
    outer, hole = trace(mask)
    assert (outer.is_hole, outer.parent, hole.is_hole, hole.parent) == (False, -1, True, 0)
    # The contour cuts every corner: by 1/8 px² each.
    assert signed_area(outer.points_xy) == pytest.approx(8 * 12 - 0.5)
    assert signed_area(hole.points_xy) == pytest.approx(-(3 * 4 - 0.5))
    assert outer.points_xy.min(axis=0).tolist() == [3, 2]
    assert outer.points_xy.max(axis=0).tolist() == [15, 10]


@pytest.mark.parametrize("seed", range(12))
def test_the_pixels_inside_the_contours_are_those_of_the_mask(seed):
    mask = speckle(seed)
    assert np.array_equal(fill_rings(trace(mask), mask.shape), mask)


@pytest.mark.parametrize("seed", range(4))
def test_bands_of_any_height_give_the_same_rings(seed):
    mask = speckle(seed)
    expected = trace(mask, rows=1000)
    for rows in (1, 5, 16):
        for ring, same in zip(trace(mask, rows), expected, strict=True):
            assert np.array_equal(ring.points_xy, same.points_xy)
            assert (ring.is_hole, ring.parent) == (same.is_hole, same.parent)


@pytest.mark.parametrize("seed", range(6))
def test_the_parent_is_the_smallest_ring_around(seed):
    rings = trace(speckle(seed))
    areas = [abs(signed_area(ring.points_xy)) for ring in rings]
    for ring in rings:
        around = [
            n
            for n, other in enumerate(rings)
            if other is not ring and contains(other.points_xy, ring.points_xy)
        ]
        assert ring.parent == min(around, key=areas.__getitem__, default=-1)
        assert ring.parent < 0 or rings[ring.parent].is_hole != ring.is_hole


def test_pixels_that_touch_at_a_corner_are_two_regions():
    mask = np.zeros((4, 4), bool)
    mask[1, 1] = mask[2, 2] = True
    assert [ring.is_hole for ring in trace(mask)] == [False, False]


def test_an_island_in_a_hole_has_the_hole_as_its_parent():
    mask = np.ones((20, 20), bool)
    mask[4:16, 4:16] = False
    mask[8:12, 8:12] = True
    assert [(ring.is_hole, ring.parent) for ring in trace(mask)] == [
        (False, -1),
        (True, 0),
        (False, 1),
    ]


def test_a_mask_up_to_the_edges_and_an_empty_one():
    (full,) = trace(np.ones((5, 9), bool))
    assert full.points_xy.max(axis=0).tolist() == [9, 5]
    assert trace(np.zeros((5, 9), bool)) == []


def test_a_round_region_has_few_corners():
    rows, columns = np.mgrid[:400, :400]
    (ring,) = trace(np.hypot(rows - 200, columns - 200) < 150, rows=64)
    assert len(ring.points_xy) < 0.4 * 2 * np.pi * 150
    assert largest_diameter(ring.points_xy) == pytest.approx(300, abs=2)


@pytest.mark.parametrize("seed", range(6))
def test_rings_are_simple_and_apart(seed):
    shapely = pytest.importorskip("shapely")
    rings = trace(speckle(seed))
    for number, ring in enumerate(rings):
        if not ring.is_hole:
            holes = [hole.points_xy for hole in rings if hole.parent == number]
            assert shapely.Polygon(ring.points_xy, holes).is_valid
