"""Losses of single images, whose mean has to be the loss of earlier versions bit for bit."""

import math

import pytest
import torch
from torch.nn import functional as F

from epsam.weak.losses import binary_cross_entropy


def random_batch(count, seed):
    source = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, generator=source)
    return logits.requires_grad_(), (torch.rand(count, generator=source) > 0.5).float()


def test_each_image_has_its_own_loss():
    losses = binary_cross_entropy(torch.tensor([0.0, math.log(3)]), torch.tensor([1.0, 0.0]))
    assert losses.tolist() == pytest.approx([math.log(2), math.log(4)])


@pytest.mark.parametrize("scale", [1.0, 2.0**16])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 16, 49, 50])
def test_their_mean_is_torchs_bit_for_bit_and_so_is_its_gradient(count, scale):
    """Multiplying by the rounded 1 / B would differ in most batches that are no power of two."""
    for seed in range(20):
        logits, labels = random_batch(count, seed)
        expected = F.binary_cross_entropy_with_logits(logits, labels)
        (expected_gradient,) = torch.autograd.grad(expected * scale, logits)
        mean = binary_cross_entropy(logits, labels).mean()
        (gradient,) = torch.autograd.grad(mean * scale, logits)
        assert torch.equal(mean, expected)
        assert torch.equal(gradient, expected_gradient)


def test_any_other_use_of_the_losses_has_their_true_gradient():
    logits, labels = random_batch(5, 0)
    weights = torch.tensor([0.1, 0.5, 2.0, 0.0, 3.0])
    (binary_cross_entropy(logits, labels) * weights).sum().backward()
    torch.testing.assert_close(logits.grad, (logits.detach().sigmoid() - labels) * weights)
