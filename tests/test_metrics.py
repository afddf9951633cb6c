import math

import numpy as np
import pytest

from epsam.metrics import (
    PixelCounts,
    ReliabilityBin,
    accuracy,
    auroc,
    count_pixels,
    expected_calibration_error,
    macro_dice_iou,
    reliability_bins,
    sensitivity_specificity,
    sum_counts,
)

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


def test_precision_and_recall_by_hand():
    counts = PixelCounts(tp=2, predicted=8, target=5)
    assert (counts.precision, counts.recall) == (0.25, 0.4)
    empty = PixelCounts(0, 0, 0)
    assert math.isnan(empty.precision)
    assert math.isnan(empty.recall)


def test_sensitivity_and_specificity_count_the_threshold_itself_as_tumour():
    scores, labels = [0.5, 0.4, 0.9, 0.5, 0.1], [1, 1, 1, 0, 0]
    assert sensitivity_specificity(scores, labels, 0.5) == (pytest.approx(2 / 3), 0.5)
    sensitivity, specificity = sensitivity_specificity([0.2], [1], 0.5)
    assert sensitivity == 0
    assert math.isnan(specificity)


def test_calibration_error_by_hand():
    # Two bins of ten: 0.1..0.2 with mean 0.15 and no positive, 0.8..0.9 with mean 0.85 and 2 of 3.
    scores, labels = [0.1, 0.2 - 1e-9, 0.8, 0.85, 0.9 - 1e-9], [0, 0, 1, 1, 0]
    low, high = reliability_bins(scores, labels)
    assert low == ReliabilityBin(0.1, 0.2, 2, pytest.approx(0.15), 0.0)
    assert high == ReliabilityBin(0.8, 0.9, 3, pytest.approx(0.85), pytest.approx(2 / 3))
    expected = 2 / 5 * 0.15 + 3 / 5 * (0.85 - 2 / 3)
    assert expected_calibration_error(scores, labels) == pytest.approx(expected)


def test_calibration_of_certain_and_right_patches_is_exact_and_of_none_unknown():
    assert expected_calibration_error([0.0, 1.0], [0, 1]) == 0
    assert expected_calibration_error([1.0], [0]) == 1
    assert math.isnan(expected_calibration_error([], []))
