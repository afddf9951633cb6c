"""The loss on three weighted targets, and the gate, by hand."""

import math

import pytest
import torch

from epsam.wsss_tissue.gate import gate_classes
from epsam.wsss_tissue.three_targets import weighted_cross_entropy


def test_the_deepest_layers_target_weighs_three_fifths_and_the_others_one_each():
    """Logit ln 3: probability 0.75, so that 1 costs −ln 0.75 and 0 costs −ln 0.25."""
    logits = torch.full((1, 1, 2), math.log(3))
    right, wrong = -math.log(0.75), -math.log(0.25)
    half = (right + wrong) / 2
    targets = torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]], [[1.0, 0.0]]]])
    expected = 0.2 * right + 0.2 * wrong + 0.6 * half
    assert weighted_cross_entropy(logits, targets).tolist() == pytest.approx([expected])


def test_a_loss_for_each_image_and_a_single_target_is_plain_cross_entropy():
    logits = torch.tensor([[[0.0]], [[math.log(3)]]])
    targets = torch.tensor([[[[1.0]]], [[[0.0]]]])
    expected = [math.log(2), -math.log(0.25)]
    assert weighted_cross_entropy(logits, targets).tolist() == pytest.approx(expected)


def logit(probability):
    return math.log(probability / (1 - probability))


@pytest.mark.parametrize(
    ("tumour", "normal", "expected"),
    [
        (0.11, 0.99, 0.4),
        (0.09, 0.99, 0.0),
        (0.99, 0.09, 1.0),
        # Neither class is seen: there is nothing to decide by.
        (0.05, 0.05, 0.4),
    ],
)
def test_a_class_that_the_classifier_does_not_see_loses_its_pixels(tumour, normal, expected):
    probabilities = torch.full((1, 2, 2), 0.4)
    gated = gate_classes(probabilities, torch.tensor([[logit(tumour), logit(normal)]]))
    assert gated.unique().tolist() == pytest.approx([expected])
