"""The decoder's loss: soft Dice plus soft IoU, weighted 1:1 (paper 3.3.2), and cross-entropy where
the target is empty.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from epsam.metrics import EPSILON


def decoder_loss(
    logits: Tensor, targets: Tensor, soft: bool = False, pixel_weights: Tensor | None = None
) -> Tensor:
    """Dice + IoU for an image whose target has a tumour pixel, else cross-entropy.

    logits (B, H, W); targets (B, H, W), same frame: 0 and 1 or, if `soft`, the probability of
    tumour, whose certainty weights each pixel (this project). pixel_weights (B, H, W) weight the
    pixels, too; None: all equally. Returns the loss of each image (B,).
    """
    probabilities = logits.sigmoid()
    weights = certainty(targets) if soft else None
    if pixel_weights is not None:
        weights = pixel_weights if weights is None else weights * pixel_weights
    dice_iou = _dice_iou(probabilities, targets, weights)

    is_empty = ~(targets > 0.5).flatten(1).any(dim=1)
    if not is_empty.any():
        return dice_iou
    # This project: with an empty target Dice and IoU are nearly constant and give no gradient.
    # softplus is the cross-entropy of a logit with target 0.
    pixel_entropy = F.softplus(logits)
    if pixel_weights is None:
        cross_entropy = pixel_entropy.mean(dim=(1, 2))
    else:
        total = pixel_weights.sum(dim=(1, 2))
        cross_entropy = (pixel_entropy * pixel_weights).sum(dim=(1, 2)) / total
    return torch.where(is_empty, cross_entropy, dice_iou)


def dice_iou_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """(1 − Dice) + (1 − IoU), both soft, of each image (B,).

    probabilities (B, H, W) in 0..1; targets (B, H, W) of 0 and 1, same frame.
    """
    return _dice_iou(probabilities, targets, None)


def certainty(probabilities: Tensor) -> Tensor:
    """1 − entropy in bits: 1 where a probability is 0 or 1, 0 where it is ½."""
    entropy: Tensor = torch.special.entr(probabilities) + torch.special.entr(1 - probabilities)
    return 1 - entropy / math.log(2)


def _dice_iou(probabilities: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """Loss (B,) of each image; `weights` (B, H, W) weight the pixels, all equally if None."""
    weighted_targets = targets
    if weights is not None:
        probabilities, weighted_targets = probabilities * weights, targets * weights
    overlap = (probabilities * targets).sum(dim=(1, 2))
    total = probabilities.sum(dim=(1, 2)) + weighted_targets.sum(dim=(1, 2))
    dice = 1 - (2 * overlap + EPSILON) / (total + EPSILON)
    iou = 1 - (overlap + EPSILON) / (total - overlap + EPSILON)
    return dice + iou
