"""Losses of weak models: one value for each image."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy (B,) of logits (B,) and labels (B,) of 0 and 1.

    The mean over the batch has the value and the gradient of torch's own mean reduction, bit for
    bit.
    """
    losses: Tensor = _BinaryCrossEntropy.apply(logits, labels)
    return losses


class _BinaryCrossEntropy(torch.autograd.Function):
    """Torch's loss of each image; its gradient rounds as that of torch's mean does."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        ctx.save_for_backward(logits, labels)
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor, None]:
        logits, labels = ctx.saved_tensors
        count = len(logits)
        # A mean hands down scale / B to each image, already rounded. Torch's mean reduction
        # multiplies by the scale first and divides by B last, which rounds otherwise. The scale,
        # 1 or the gradient scaler's, is a power of two, so that it can be had back exactly.
        scale = torch.exp2(torch.round(torch.log2(gradients[0].double() * count))).float()
        if not torch.equal(gradients, (scale / count).expand(count)):
            return (logits.sigmoid() - labels) * gradients, None

        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            mean = F.binary_cross_entropy_with_logits(leaf, labels)
            (gradient,) = torch.autograd.grad(mean, leaf, scale)
        return gradient, None
