"""From the probabilities of pixels to that of their patch: the generalised mean."""

from torch import Tensor

ROOT_EPSILON = 1e-6
"""This project: without it, the slope of the root is infinite on a map of zeros."""


def generalised_mean(maps: Tensor, power: float) -> Tensor:
    """(mean of p^r + ε)^(1/r) over the pixels of maps (B, 1, h, w) in 0..1: (B,).

    power: r; 1 is the mean, and the result nears the maximum with growing r. A map of zeros gives
    ε^(1/r), 0.03 for r = 4, and a gradient of 0.
    """
    mean = maps.pow(power).mean(dim=(1, 2, 3))
    return (mean + ROOT_EPSILON).pow(1 / power)
