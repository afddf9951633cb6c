import math

import pytest
import torch

from epsam.segment.sam.losses import certainty, decoder_loss, dice_iou_loss

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
    assert dice_iou_loss(masks, masks).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_each_image_weighs_the_same_whatever_its_area():
    perfect = torch.zeros(1, 10, 10)
    perfect[0, :9] = 1
    missed_truth = torch.zeros(1, 10, 10)
    missed_truth[0, 0, 0] = 1
    both = dice_iou_loss(
        torch.cat([perfect, torch.zeros(1, 10, 10)]), torch.cat([perfect, missed_truth])
    )
    alone = dice_iou_loss(torch.zeros(1, 10, 10), missed_truth)
    # Loss of the perfect image 0.
    assert both.tolist() == pytest.approx([0, float(alone)], abs=1e-6)


def logits_of(*probabilities):
    return torch.logit(torch.tensor([[probabilities]]))


def test_the_decoders_loss_is_dice_and_iou_where_something_is_true():
    source = torch.Generator().manual_seed(0)
    logits, targets = (
        torch.randn(3, 5, 5, generator=source),
        torch.rand(3, 5, 5, generator=source).round(),
    )
    assert torch.equal(decoder_loss(logits, targets), dice_iou_loss(logits.sigmoid(), targets))
    assert torch.equal(
        decoder_loss(logits, targets, soft=True), dice_iou_loss(logits.sigmoid(), targets)
    )


def test_where_nothing_is_true_it_is_the_cross_entropy_and_falls_with_every_pixel():
    logits = logits_of(0.5, 0.75).requires_grad_()
    loss = decoder_loss(logits, torch.zeros(1, 1, 2))
    # −ln ½ and −ln ¼, and slopes of p / 2 pixels.
    assert float(loss.detach()) == pytest.approx((math.log(2) + math.log(4)) / 2)
    loss.backward()
    assert logits.grad.flatten().tolist() == pytest.approx([0.25, 0.375])
    sure = torch.full((1, 1, 2), 40.0, requires_grad=True)
    decoder_loss(sure, torch.zeros(1, 1, 2)).backward()
    assert sure.grad.flatten().tolist() == pytest.approx([0.5, 0.5])


def test_empty_and_filled_images_weigh_the_same():
    filled, true = logits_of(0.5, 0.25), torch.tensor([[[1.0, 0.0]]])
    both = decoder_loss(
        torch.cat([filled, logits_of(0.5, 0.75)]), torch.cat([true, torch.zeros(1, 1, 2)])
    )
    assert both.tolist() == pytest.approx([float(decoder_loss(filled, true)), 1.5 * math.log(2)])


def test_certainty_is_what_one_bit_of_entropy_leaves():
    weights = certainty(torch.tensor([0.0, 0.5, 1.0, 0.25]))
    expected = 1 + 0.25 * math.log2(0.25) + 0.75 * math.log2(0.75)
    assert weights.tolist() == pytest.approx([1, 0, 1, expected], abs=1e-6)


def test_soft_targets_by_hand():
    certain = 1 + 0.25 * math.log2(0.25) + 0.75 * math.log2(0.75)
    loss = decoder_loss(logits_of(0.5, 0.5, 0.9), torch.tensor([[[1.0, 0.25, 0.5]]]), soft=True)
    # The first pixel counts once, the second `certain` times, the third, whose target is ½, not at
    # all.
    both, total = 0.5 + certain * 0.5 * 0.25, 0.5 + certain * 0.5 + 1 + certain * 0.25
    expected = (1 - (2 * both + EPS) / (total + EPS)) + (1 - (both + EPS) / (total - both + EPS))
    assert float(loss) == pytest.approx(expected, abs=1e-6)
