"""The loss of a segmenter on three targets of a patch: the masks of three layers."""

from torch import Tensor
from torch.nn import functional as F

WEIGHTS = (0.2, 0.2, 0.6)
"""Of the targets in the order of layers: the deepest has the largest."""


def weighted_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The loss (B,) of tumour logits (B, h, w) on targets (B, T, h, w) of 0 and 1.

    T is 3, weighted by WEIGHTS, or 1. Cross-entropy over two classes, of which one has logit 0, is
    that of the sigmoid; it is the mean over an image's pixels.
    """
    weights = WEIGHTS if targets.shape[1] == len(WEIGHTS) else (1.0,)
    loss = logits.new_zeros(len(logits))
    for number, weight in enumerate(weights):
        losses = F.binary_cross_entropy_with_logits(logits, targets[:, number], reduction="none")
        loss = loss + weight * losses.mean(dim=(1, 2))
    return loss
