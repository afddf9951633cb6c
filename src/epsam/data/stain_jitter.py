"""Stain augmentation: the amounts of haematoxylin, eosin and a residual of H&E images are varied
apart (Tellez et al., IEEE TMI 37(9), 2018; a published variant, not in the paper).

Colour jitter moves all colours of an image together; laboratories differ in how much of each stain
they use.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Ruifrok and Johnston, Analytical and Quantitative Cytology and Histology 23(4), 2001: optical
# densities of red, green and blue for one unit of haematoxylin, eosin and the residual (DAB).
STAIN_DENSITIES = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))

DARKEST = 1 / 255
"""The smallest value of a byte that has a finite density."""


@dataclass(frozen=True)
class StainJitter:
    """What happens to the amounts of the three stains of one image: amount · scale + shift.

    shift: in units of optical density.
    """

    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)


NO_JITTER = StainJitter()


def draw_stain_jitter(rng: np.random.Generator, strength: float) -> StainJitter:
    """Scales of 1 ± strength and shifts of ± strength, each stain with its own."""
    scale = rng.uniform(1 - strength, 1 + strength, size=3).tolist()
    shift = rng.uniform(-strength, strength, size=3).tolist()
    return StainJitter(tuple(scale), tuple(shift))


def jitter_stains(images: Tensor, jitters: Sequence[StainJitter]) -> Tensor:
    """RGB images (B, 3, H, W) in 0..1, each with its own `StainJitter`; same shape and range."""

    def per_image(values: list[tuple[float, float, float]]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=images.device)[:, :, None, None]

    # The logarithm and the inverse need more than half precision.
    with torch.autocast(device_type=images.device.type, enabled=False):
        to_densities = torch.tensor(STAIN_DENSITIES, device=images.device)
        to_amounts = torch.linalg.inv(to_densities)

        # Beer–Lambert: optical density is proportional to the amount of stain.
        densities = -torch.log(images.float().clamp(min=DARKEST))
        amounts = torch.einsum("bchw,cs->bshw", densities, to_amounts)

        scale = per_image([jitter.scale for jitter in jitters])
        shift = per_image([jitter.shift for jitter in jitters])
        amounts = amounts * scale + shift

        densities = torch.einsum("bshw,sc->bchw", amounts, to_densities)
        return torch.exp(-densities).clamp(0, 1).to(images.dtype)
