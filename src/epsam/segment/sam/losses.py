"""The decoder's loss: soft Dice plus soft IoU, weighted 1:1 (paper 3.3.2), and what of it an empty
target needs.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from epsam.metrics import EPSILON


def decoder_loss(logits: Tensor, targets: Tensor, soft: bool = False) -> Tensor:
    """Dice + IoU for an image whose target has a tumour pixel, else cross-entropy; their mean over
    the batch: a scalar.

    logits (B, H, W); targets (B, H, W), same frame: 0 and 1 or, if `soft`, the probability of
    tumour, by whose certainty each pixel counts (ours). Dice and IoU have no gradient to speak of
    where nothing is true (ours).
    """
    probabilities, trust = logits.sigmoid(), certainty(targets) if soft else None
    empty = ~(targets > 0.5).flatten(1).any(dim=1)
    if not empty.any():
        return _dice_iou(probabilities, targets, trust).mean()
    return torch.where(
        empty, F.softplus(logits).mean(dim=(1, 2)), _dice_iou(probabilities, targets, trust)
    ).mean()


def dice_iou_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """(1 − Dice) + (1 − IoU), both soft, for each image, then their mean over the batch: a scalar.

    probabilities (B, H, W) in 0..1; targets (B, H, W) of 0 and 1, same frame.
    """
    return _dice_iou(probabilities, targets, None).mean()


def certainty(probabilities: Tensor) -> Tensor:
    """1 − entropy in bits: 1 where a probability is 0 or 1, 0 where it is ½."""
    entropy: Tensor = torch.special.entr(probabilities) + torch.special.entr(1 - probabilities)
    return 1 - entropy / math.log(2)


def _dice_iou(probabilities: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """Loss (B,) of each image; a pixel counts `weights` times, once without them."""
    true = targets
    if weights is not None:
        probabilities, true = probabilities * weights, targets * weights
    overlap = (probabilities * targets).sum(dim=(1, 2))
    total = probabilities.sum(dim=(1, 2)) + true.sum(dim=(1, 2))
    dice = 1 - (2 * overlap + EPSILON) / (total + EPSILON)
    iou = 1 - (overlap + EPSILON) / (total - overlap + EPSILON)
    return dice + iou
