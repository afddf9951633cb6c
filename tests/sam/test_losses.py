import pytest
import torch

from epsam.sam.losses import dice_iou_loss

EPS = 1e-3


def test_half_overlap_by_hand():
    predicted = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    target = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    # I = 1, P = G = 2, so Dice = 2/4 and IoU = 1/3.
    expected = (1 - (2 + EPS) / (4 + EPS)) + (1 - (1 + EPS) / (3 + EPS))
    assert float(dice_iou_loss(predicted, target)) == pytest.approx(expected, abs=1e-6)


def test_soft_values_by_hand():
    predicted, target = torch.tensor([[[0.5, 0.25]]]), torch.tensor([[[1.0, 0.0]]])
    # I = 0.5, P = 0.75, G = 1.
    expected = (1 - (1 + EPS) / (1.75 + EPS)) + (1 - (0.5 + EPS) / (1.25 + EPS))
    assert float(dice_iou_loss(predicted, target)) == pytest.approx(expected, abs=1e-6)


def test_perfect_and_doubly_empty_images_cost_nothing():
    masks = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])
    assert float(dice_iou_loss(masks, masks)) == pytest.approx(0.0, abs=1e-6)


def test_each_image_weighs_the_same_whatever_its_area():
    perfect = torch.zeros(1, 10, 10)
    perfect[0, :9] = 1
    missed_truth = torch.zeros(1, 10, 10)
    missed_truth[0, 0, 0] = 1
    both = dice_iou_loss(torch.cat([perfect, torch.zeros(1, 10, 10)]), torch.cat([perfect, missed_truth]))
    alone = dice_iou_loss(torch.zeros(1, 10, 10), missed_truth)
    assert float(both) == pytest.approx(float(alone) / 2, abs=1e-6)
