"""Augmentation of the classifier's patches, drawn for each patch by key and applied to a whole
batch on its device.

The recipe is the published one (methods, section 2): flips, rotation by any angle with black
corners, jitter of brightness, contrast, saturation and hue by 0.2, grey for one patch in ten.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

JITTER = 0.2
"""Code: brightness, contrast and saturation by a factor in 0.8–1.2, hue by −0.2–0.2 of a turn."""
GREY_SHARE = 0.1
LUMA = (0.299, 0.587, 0.114)

# RGB → luma and two chroma axes (NTSC); a turn of the chroma plane is a change of hue, and unlike
# the way through HSV it is one 3×3 matrix for each patch.
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


@dataclass(frozen=True)
class Augmentation:
    """What happens to one patch."""

    mirrored: bool
    angle: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    grey: bool


def draw_augmentation(rng: np.random.Generator) -> Augmentation:
    """Draw one patch's augmentation. A vertical flip is a mirror image turned by 180°, so one
    mirror suffices.
    """
    mirrored, grey = bool(rng.random() < 0.5), bool(rng.random() < GREY_SHARE)
    brightness, contrast, saturation = (
        float(x) for x in rng.uniform(1 - JITTER, 1 + JITTER, size=3)
    )
    hue, angle = float(rng.uniform(-JITTER, JITTER)), float(rng.uniform(0, 2 * math.pi))
    return Augmentation(mirrored, angle, brightness, contrast, saturation, hue, grey)


def augment(images: Tensor, draws: list[Augmentation]) -> Tensor:
    """Augmented images (B, 3, H, W) in 0..1 for images of the same form and one draw each."""
    return _recolour(_turn(images, draws), draws)


def _turn(images: Tensor, draws: list[Augmentation]) -> Tensor:
    rows = []
    for draw in draws:
        cosine, sine = math.cos(draw.angle), math.sin(draw.angle)
        sign = -1.0 if draw.mirrored else 1.0
        rows.append([[sign * cosine, -sine, 0.0], [sign * sine, cosine, 0.0]])
    matrices = torch.tensor(rows, dtype=images.dtype, device=images.device)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _recolour(images: Tensor, draws: list[Augmentation]) -> Tensor:
    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=images.dtype, device=images.device).view(-1, 1, 1, 1)

    luma = torch.tensor(LUMA, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    images = (images * column([d.brightness for d in draws])).clamp(0, 1)
    mean = (images * luma).sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True)
    images = (mean + (images - mean) * column([d.contrast for d in draws])).clamp(0, 1)
    grey = (images * luma).sum(dim=1, keepdim=True)
    images = grey + (images - grey) * column([0.0 if d.grey else d.saturation for d in draws])
    matrices = torch.stack([_hue_matrix(0.0 if d.grey else d.hue) for d in draws]).to(images)
    return torch.einsum("bij,bjhw->bihw", matrices, images).clamp(0, 1)


def _hue_matrix(turn: float) -> Tensor:
    cosine, sine = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
    rotation = torch.tensor([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]])
    matrix: Tensor = torch.linalg.solve(_YIQ, rotation @ _YIQ)
    return matrix
