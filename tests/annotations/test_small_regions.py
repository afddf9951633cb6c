import numpy as np
import pytest

from epsam.annotations.contours import ContourTracer, signed_area
from epsam.annotations.small_regions import SmallRegions


def trace(mask):
    tracer = ContourTracer(mask.shape[1])
    tracer.add(mask)
    return tracer.trace_rings()


def without_small_regions(mask, min_area_px2, rows=7):
    small_regions = SmallRegions(trace(mask), min_area_px2)
    return np.concatenate(
        [
            small_regions.remove_from(mask[top : top + rows], top)
            for top in range(0, len(mask), rows)
        ]
    )


def boxes(*corners):
    """Each box (left, top, right, bottom) inverts what lies in it."""
    mask = np.zeros((40, 60), bool)
    for left, top, right, bottom in corners:
        mask[top:bottom, left:right] ^= True
    return mask


REGION, GAP, SMALL = (4, 4, 44, 36), (20, 10, 24, 13), (50, 20, 53, 24)


def test_small_regions_and_small_gaps_go_and_large_ones_stay():
    # Contours cut corners: half a pixel less than 12 px each.
    mask = boxes(REGION, GAP, SMALL)
    assert np.array_equal(without_small_regions(mask, 12), boxes(REGION))
    assert np.array_equal(without_small_regions(mask, 11), mask)
    assert not without_small_regions(mask, 40 * 32).any()


def test_a_region_counts_with_its_gaps():
    """Its own 36 px are fewer than 60, what its contour encloses is more; the gap of 64 px is
    smaller than 90.
    """
    frame, filled = boxes((4, 4, 14, 14), (5, 5, 13, 13)), boxes((4, 4, 14, 14))
    assert np.array_equal(without_small_regions(frame, 60), frame)
    assert np.array_equal(without_small_regions(frame, 90), filled)


def test_islands_go_with_the_small_gap_that_they_lie_in():
    gap_with_island = boxes(REGION, (10, 10, 18, 18), (13, 13, 15, 15))
    assert np.array_equal(without_small_regions(gap_with_island, 80), boxes(REGION))
    assert np.array_equal(
        without_small_regions(gap_with_island, 20), boxes(REGION, (10, 10, 18, 18))
    )
    small_with_gap = boxes(REGION, (48, 4, 56, 12), (50, 6, 52, 8))
    assert np.array_equal(without_small_regions(small_with_gap, 80), boxes(REGION))


@pytest.mark.parametrize("seed", range(8))
def test_exactly_the_contours_that_are_large_enough_are_left(seed):
    rng = np.random.default_rng(seed)
    mask = np.kron(rng.random((8, 11)) < 0.6, np.ones((6, 6), bool)) ^ (rng.random((48, 66)) < 0.03)
    large = [ring.points_xy for ring in trace(mask) if abs(signed_area(ring.points_xy)) >= 9]
    left = [
        ring.points_xy
        for ring in trace(without_small_regions(mask, 9, rows=int(rng.integers(1, 50))))
    ]
    assert 0 < len(large) < len(trace(mask))
    assert len(left) == len(large)
    assert all(np.array_equal(ring, same) for ring, same in zip(left, large, strict=True))
