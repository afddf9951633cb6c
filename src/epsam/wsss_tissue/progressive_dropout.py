"""Progressive dropout attention: from epoch to epoch the classifier sees less of what it is surest
of, so that it has to look at the rest of the tissue.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

FIRST_EPOCH = 3
"""Epochs count from 0; before this one the features stay as they are."""
DECAY, LOWEST_GAMMA = 0.98, 0.65


def gamma_at(epoch: int) -> float | None:
    """The fraction of a class map's maximum above which it is dropped; None: no attention yet.

    It starts at 1 and is multiplied by DECAY after each epoch for as long as it is above
    LOWEST_GAMMA.
    """
    if epoch < FIRST_EPOCH:
        return None
    gamma = 1.0
    for _ in range(epoch):
        if gamma > LOWEST_GAMMA:
            gamma *= DECAY
    return gamma


def class_maps(features: Tensor, class_weights: Tensor) -> Tensor:
    """relu(Σ_k w_ck F_k), (B, classes, h, w), of features (B, K, h, w) and weights (classes, K)."""
    return F.conv2d(features, class_weights[:, :, None, None]).relu()


def attention_map(maps: Tensor, gamma: float) -> Tensor:
    """The mean (B, 1, h, w) of class maps (B, classes, h, w) over classes, each without its values
    above γ times its maximum.
    """
    largest = maps.amax(dim=(2, 3), keepdim=True)
    remaining = torch.where(maps > gamma * largest, 0, maps)
    # The published code divides by 4, the number of its classes, whatever theirs is.
    return remaining.mean(dim=1, keepdim=True)


def drop_progressively(features: Tensor, class_weights: Tensor, gamma: float) -> Tensor:
    """Features (B, K, h, w) times the attention map of their own class maps."""
    return features * attention_map(class_maps(features, class_weights), gamma)
