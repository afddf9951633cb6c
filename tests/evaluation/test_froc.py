"""FROC as CAMELYON16 defines it, worked out by hand."""

import numpy as np
import pytest
from skimage.measure import label, regionprops

from epsam.evaluation.froc import (
    FALSE_POSITIVES_PER_SLIDE,
    Detections,
    LesionHits,
    compute_froc,
    find_peaks,
    label_lesions,
    main_axis,
    match_detections,
    sensitivities,
)

UM = 7.5


def detections(*points):
    x, y, probability = zip(*points, strict=True)
    return Detections(np.array(x), np.array(y), np.array(probability))


def test_lesions_are_widened_by_half_of_75_um_and_joined_when_nearer():
    ground_truth = np.zeros((100, 200), bool)
    ground_truth[20:60, 20:60] = ground_truth[20:60, 68:108] = ground_truth[20:60, 130:170] = True
    labels, counts = label_lesions(ground_truth, UM)
    # 37.5 µm are 5 px: less than 5 px away counts, so the gap of 8 px closes and that of 22 px does
    # not.
    assert counts == [True, True]
    assert labels[40, 40] == labels[40, 64] == labels[40, 100] != labels[40, 150]
    assert labels[40, 16] == labels[40, 40]
    assert labels[40, 15] == 0


def test_a_lesion_includes_what_it_encloses():
    ground_truth = np.zeros((100, 100), bool)
    ground_truth[10:90, 10:90] = True
    ground_truth[25:75, 25:75] = False
    assert (label_lesions(ground_truth, UM)[0][25:75, 25:75] == 1).all()


def test_small_lesions_are_isolated_cells():
    ground_truth = np.zeros((60, 120), bool)
    ground_truth[20:22, 20:22] = True
    ground_truth[20:50, 60:90] = True
    assert label_lesions(ground_truth, UM)[1] == [False, True]
    assert label_lesions(np.zeros((5, 5), bool), UM)[1] == []


def test_the_main_axis_is_that_of_regionprops():
    rows, columns = np.mgrid[:80, :120]
    mask = ((columns - 60 + (rows - 40)) / 50) ** 2 + ((rows - 40) / 20) ** 2 < 1
    y, x = np.nonzero(mask)
    expected = regionprops(label(mask))[0].axis_major_length
    assert main_axis(np.stack([x, y], axis=1)) == pytest.approx(expected, rel=0.01)


def test_the_best_detection_counts_and_those_in_isolated_cells_are_neutral():
    labels = np.zeros((10, 30), np.int32)
    labels[:, 0:8], labels[:, 10:18], labels[:, 20:22] = 1, 2, 3
    hits = match_detections(
        detections((1, 1, 0.4), (2, 2, 0.9), (20, 5, 0.8), (25, 5, 0.7)),
        labels,
        [True, True, False],
    )
    assert hits == LesionHits(lesions=[0.9, 0.0], false_positives=[0.7])


def test_the_curve_counts_false_positives_per_slide_and_detected_lesions():
    slides = [LesionHits([0.9, 0.3], [0.5]), LesionHits([], [0.8, 0.3]), LesionHits([0.0], [])]
    assert compute_froc(slides) == [
        (0.9, 0.0, pytest.approx(1 / 3)),
        (0.8, pytest.approx(1 / 3), pytest.approx(1 / 3)),
        (0.5, pytest.approx(2 / 3), pytest.approx(1 / 3)),
        (0.3, 1.0, pytest.approx(2 / 3)),
    ]
    assert compute_froc([LesionHits([], [0.5])]) == []


def test_the_score_takes_sensitivity_between_points_by_straight_lines():
    points = [(0.9, 0.0, 0.2), (0.5, 1.0, 0.6), (0.3, 3.0, 0.8)]
    # At 1/4, 1/2, 1, 2, 4 and 8 false positives per slide.
    assert len(FALSE_POSITIVES_PER_SLIDE) == 6
    assert sensitivities(points) == pytest.approx([0.3, 0.4, 0.6, 0.7, 0.8, 0.8])


def test_peaks_are_apart_and_a_plateau_is_one_detection():
    probability = np.zeros((60, 90), np.uint8)
    probability[10, 10], probability[10, 15], probability[10, 40] = 200, 150, 100
    probability[40:50, 60:80] = 255
    probability[50, 20] = 20
    peaks = find_peaks(probability, UM)
    assert sorted(zip(peaks.x.tolist(), peaks.y.tolist(), strict=True))[:2] == [(10, 10), (40, 10)]
    assert len(peaks.x) == 3
    plateau = int(np.argmax(peaks.probability))
    assert probability[peaks.y[plateau], peaks.x[plateau]] == 255
    assert sorted(peaks.probability) == pytest.approx([100 / 255, 200 / 255, 1.0])


def test_an_empty_map_has_no_detections():
    assert len(find_peaks(np.zeros((20, 20), np.uint8), UM).x) == 0
