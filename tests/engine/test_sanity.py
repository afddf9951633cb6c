import math

import numpy as np
import pytest

from epsam.engine.sanity import MaskCounts, check_classifier, check_pseudo_labels

EMPTY, FULL, HALF = np.zeros((2, 2), bool), np.ones((2, 2), bool), np.eye(2) > 0


def count(*masks):
    counts = MaskCounts()
    for mask in masks:
        counts.add(mask)
    return counts


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([EMPTY, EMPTY], "of 2 masks every one is empty or full (2 empty)"),
        ([FULL], "of 1 masks every one is empty or full (1 full)"),
        ([FULL, EMPTY, FULL], "of 3 masks every one is empty or full (1 empty, 2 full)"),
        ([FULL, EMPTY, HALF], ""),
        ([], ""),
    ],
)
def test_masks_that_are_all_empty_or_full_are_degenerate(masks, message):
    assert count(*masks).degenerate_output("masks") == message


@pytest.mark.parametrize(
    ("auroc", "at_chance"),
    [(0.5, True), (0.3, True), (0.55, True), (0.56, False), (1.0, False), (math.nan, False)],
)
def test_a_classifier_is_checked_at_its_best_epoch(auroc, at_chance):
    history = [(1, "val_auroc", 1 - auroc), (2, "val_loss", 0.1), (2, "val_auroc", auroc)]
    assert bool(check_classifier(history, 2)) == at_chance


def test_no_accepted_pseudo_label_is_degenerate_and_so_are_only_full_ones():
    assert check_pseudo_labels(0.0, count(HALF)) == "none of the pseudo-labels was accepted"
    assert check_pseudo_labels(0.5, count(FULL, FULL)).startswith("of 2 pseudo-labels every one")
    assert check_pseudo_labels(0.5, count(FULL, HALF)) == ""
