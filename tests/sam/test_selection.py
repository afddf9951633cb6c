import numpy as np
import pytest

from epsam.sam.selection import Agreement, accepted, agreement


def masks(initial_pixels, pseudo_pixels, side=4):
    initial, pseudo = np.zeros((side, side), bool), np.zeros((side, side), bool)
    initial.flat[initial_pixels] = True
    pseudo.flat[pseudo_pixels] = True
    return initial, pseudo


def test_ids_is_the_share_of_the_pseudo_label_inside_the_initial_mask():
    found = agreement(*masks([0, 1, 2, 3, 4, 5], [2, 3, 4, 9]))
    assert found.ids == pytest.approx(3 / 4)
    assert found.area_ratio == pytest.approx(4 / 6)


def test_a_small_label_inside_the_mask_scores_one():
    # The published denominator |S| + 1 makes this 8/9 and rejects every label under nine pixels (methods D29).
    assert agreement(*masks(list(range(10)), list(range(8)))).ids == 1.0


def test_an_empty_label_is_rejected_without_a_division():
    found = agreement(*masks([0, 1], []))
    assert found == Agreement(0.0, 0.0)
    assert not accepted(found, 0.0, 0.0)


def test_an_empty_initial_mask_is_no_division_either():
    assert agreement(*masks([], [1])) == Agreement(0.0, 0.0)


def test_the_threshold_itself_is_not_enough():
    assert not accepted(Agreement(0.9, 1.0), 0.9, 0.0)
    assert accepted(Agreement(0.9001, 1.0), 0.9, 0.0)


def test_a_label_that_is_too_small_a_part_is_rejected():
    assert not accepted(Agreement(1.0, 0.1), 0.9, 0.2)
