"""The loss of multiple-instance learning: cross-entropy of each map's generalised mean."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from epsam.mil.generalised_mean import generalised_mean

SMALLEST_PROBABILITY = 1e-6
"""This project: a patch's probability keeps this distance from 0 and 1, and its logit is finite."""


def bag_loss(maps: Sequence[Tensor], labels: Tensor, power: float) -> Tensor:
    """Cross-entropy (B,), summed over the maps (B, 1, h, w) without weights, given labels (B,)."""
    # Autocast refuses cross-entropy of probabilities, as half precision has too few of them.
    with torch.autocast(device_type=labels.device.type, enabled=False):
        losses = []
        for tumour_map in maps:
            probability = bag_probability(tumour_map, power)
            losses.append(F.binary_cross_entropy(probability, labels.float(), reduction="none"))
        return torch.stack(losses).sum(dim=0)


def bag_probability(tumour_map: Tensor, power: float) -> Tensor:
    """The probability (B,) of patches with maps (B, 1, h, w), float32, never 0 or 1."""
    probability = generalised_mean(tumour_map.float(), power)
    return probability.clamp(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
