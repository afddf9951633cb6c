"""The decoder's loss: soft Dice plus soft IoU, weighted 1:1 (paper 3.3.2)."""

from torch import Tensor

EPSILON = 1e-3
"""Added to numerator and denominator, as in the metrics (methods, shared conventions)."""


def dice_iou_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """(1 − Dice) + (1 − IoU), both soft, for each image, then their mean over the batch: a scalar.

    probabilities (B, H, W) in 0..1; targets (B, H, W) of 0 and 1, same frame.
    """
    overlap = (probabilities * targets).sum(dim=(1, 2))
    total = probabilities.sum(dim=(1, 2)) + targets.sum(dim=(1, 2))
    dice = 1 - (2 * overlap + EPSILON) / (total + EPSILON)
    iou = 1 - (overlap + EPSILON) / (total - overlap + EPSILON)
    return (dice + iou).mean()
