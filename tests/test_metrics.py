import math

import numpy as np
import pytest

from epsam.metrics import PixelCounts, accuracy, auroc, count_pixels, macro_dice_iou, sum_counts

EPS = 1e-3


def test_counts_dice_and_iou_by_hand():
    predicted, target = (
        np.array([[1, 1, 0], [0, 1, 0]], bool),
        np.array([[1, 0, 0], [0, 1, 1]], bool),
    )
    counts = count_pixels(predicted, target)
    assert counts == PixelCounts(tp=2, predicted=3, target=3)
    assert counts.dice == pytest.approx((4 + EPS) / (6 + EPS))
    assert counts.iou == pytest.approx((2 + EPS) / (4 + EPS))


def test_two_empty_masks_agree_and_an_empty_prediction_scores_nearly_nothing():
    empty, full = np.zeros((10, 10), bool), np.ones((10, 10), bool)
    assert count_pixels(empty, empty).dice == 1.0
    assert count_pixels(empty, full).dice < 1e-4


def test_mean_over_images_and_pooled_differ_as_they_should():
    small, large = PixelCounts(0, 1, 1), PixelCounts(98, 98, 98)
    assert macro_dice_iou([small, large])[0] == pytest.approx(0.5, abs=1e-3)
    assert sum_counts([small, large]).dice == pytest.approx(2 * 98 / 198, abs=1e-4)
    assert all(math.isnan(value) for value in macro_dice_iou([]))


def test_masks_of_two_shapes_are_a_mistake():
    with pytest.raises(ValueError, match="beside ground truth of shape"):
        count_pixels(np.zeros((2, 2), bool), np.zeros((2, 3), bool))


def test_auroc_equals_the_share_of_ordered_pairs():
    rng = np.random.default_rng(3)
    scores, labels = np.round(rng.random(60), 1).tolist(), rng.integers(0, 2, 60).tolist()
    pairs = [
        (1.0 if p > n else 0.5 if p == n else 0.0)
        for p, pl in zip(scores, labels, strict=True)
        if pl
        for n, nl in zip(scores, labels, strict=True)
        if not nl
    ]
    assert auroc(scores, labels) == pytest.approx(sum(pairs) / len(pairs))


def test_auroc_needs_both_classes():
    assert math.isnan(auroc([0.1, 0.9], [1, 1]))
    assert math.isnan(auroc([], []))


def test_accuracy_by_hand():
    assert accuracy([0.6, 0.4, 0.5, 0.9], [1, 1, 0, 0]) == 0.5
    assert math.isnan(accuracy([], []))
