import numpy as np
import pytest

from epsam.pseudo_labels.ids import PseudoLabelScore, is_accepted, score_pseudo_label


def masks(initial_pixels, pseudo_pixels, side=4):
    initial, pseudo = np.zeros((side, side), bool), np.zeros((side, side), bool)
    initial.flat[initial_pixels] = True
    pseudo.flat[pseudo_pixels] = True
    return initial, pseudo


def test_ids_is_the_fraction_of_the_pseudo_label_inside_the_initial_mask():
    score = score_pseudo_label(*masks([0, 1, 2, 3, 4, 5], [2, 3, 4, 9]))
    assert score.ids == pytest.approx(3 / 4)
    assert score.area_ratio == pytest.approx(4 / 6)


def test_a_small_label_inside_the_mask_scores_one():
    # The published denominator |S| + 1 makes this 8/9 and rejects every label under nine pixels
    # (docs/deviations.md, "IDS").
    assert score_pseudo_label(*masks(list(range(10)), list(range(8)))).ids == 1.0


def test_an_empty_label_is_rejected_without_a_division():
    score = score_pseudo_label(*masks([0, 1], []))
    assert score == PseudoLabelScore(0.0, 0.0)
    assert not is_accepted(score, 0.0, 0.0)


def test_with_an_empty_initial_mask_both_scores_are_zero():
    assert score_pseudo_label(*masks([], [1])) == PseudoLabelScore(0.0, 0.0)


def test_the_threshold_itself_is_not_enough():
    assert not is_accepted(PseudoLabelScore(0.9, 1.0), 0.9, 0.0)
    assert is_accepted(PseudoLabelScore(0.9001, 1.0), 0.9, 0.0)


def test_a_label_that_is_too_small_a_fraction_is_rejected():
    assert not is_accepted(PseudoLabelScore(1.0, 0.1), 0.9, 0.2)
