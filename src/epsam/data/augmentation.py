"""Augmentation of the classifier's training patches.

Parameters are drawn patch by patch, each with its own generator; the images are transformed as one
batch on the device. The recipe is that of the published code: flips, rotation by any angle with
black corners, colour jitter, and greyscale for one patch in ten (docs/deviations.md, "Augmentation
of the classifier").
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

JITTER = 0.2
"""Published code: brightness, contrast and saturation are scaled by 0.8 … 1.2, and hue is shifted
by −0.2 … 0.2 of a full turn.
"""
GREY_PROBABILITY = 0.1
"""Published code."""
LUMA = (0.299, 0.587, 0.114)

# RGB → YIQ (NTSC): luma and two chroma axes. Rotating the chroma plane changes the hue. Unlike the
# way through HSV, that is a single 3 × 3 matrix for each patch.
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


@dataclass(frozen=True)
class Augmentation:
    """The parameters of one patch's augmentation.

    angle: radians. brightness, contrast, saturation: factors. hue: part of a full turn.
    """

    mirrored: bool
    angle: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    grey: bool


def draw_augmentation(rng: np.random.Generator) -> Augmentation:
    """Draw the parameters of one patch's augmentation."""
    # A vertical flip is a mirror image rotated by 180°, so with rotation one mirror is enough.
    mirrored = bool(rng.random() < 0.5)
    grey = bool(rng.random() < GREY_PROBABILITY)
    brightness, contrast, saturation = rng.uniform(1 - JITTER, 1 + JITTER, size=3).tolist()
    hue = float(rng.uniform(-JITTER, JITTER))
    angle = float(rng.uniform(0, 2 * math.pi))
    return Augmentation(mirrored, angle, brightness, contrast, saturation, hue, grey)


def augment(images: Tensor, augmentations: list[Augmentation]) -> Tensor:
    """Augment images (B, 3, H, W) in 0..1, each by its own parameters; same shape and range."""
    images = _mirror_and_rotate(images, augmentations)
    return _jitter_colours(images, augmentations)


def augment_with_masks(
    images: Tensor, masks: Tensor, augmentations: list[Augmentation]
) -> tuple[Tensor, Tensor]:
    """`augment` for images and their masks (B, C, H, W) of 0 and 1: masks move with their image,
    by nearest neighbour, and keep their values; the corners that a rotation uncovers are 0.
    """
    moved = _mirror_and_rotate(masks, augmentations, mode="nearest")
    return augment(images, augmentations), moved


def _mirror_and_rotate(
    images: Tensor, augmentations: list[Augmentation], mode: str = "bilinear"
) -> Tensor:
    matrices = []
    for augmentation in augmentations:
        cosine = math.cos(augmentation.angle)
        sine = math.sin(augmentation.angle)
        sign = -1.0 if augmentation.mirrored else 1.0
        matrices.append([[sign * cosine, -sine, 0.0], [sign * sine, cosine, 0.0]])

    theta = torch.tensor(matrices, dtype=images.dtype, device=images.device)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=False)


def _jitter_colours(images: Tensor, augmentations: list[Augmentation]) -> Tensor:
    def per_image(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=images.dtype, device=images.device).view(-1, 1, 1, 1)

    luma = torch.tensor(LUMA, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)

    brightness = per_image([augmentation.brightness for augmentation in augmentations])
    images = (images * brightness).clamp(0, 1)

    # Contrast: away from or towards the image's mean grey level.
    contrast = per_image([augmentation.contrast for augmentation in augmentations])
    grey = (images * luma).sum(dim=1, keepdim=True)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    images = (mean + (images - mean) * contrast).clamp(0, 1)

    # Saturation: away from or towards each pixel's own grey; factor 0 makes a greyscale image.
    saturation = per_image([0.0 if a.grey else a.saturation for a in augmentations])
    grey = (images * luma).sum(dim=1, keepdim=True)
    images = grey + (images - grey) * saturation

    # A greyscale image has no hue; shifting it by 0 keeps it exactly grey.
    matrices = [_hue_matrix(0.0 if a.grey else a.hue) for a in augmentations]
    hue = torch.stack(matrices).to(images)
    return torch.einsum("bij,bjhw->bihw", hue, images).clamp(0, 1)


def _hue_matrix(turn: float) -> Tensor:
    """The RGB → RGB matrix (3, 3) that shifts the hue by `turn` of a full circle."""
    cosine = math.cos(2 * math.pi * turn)
    sine = math.sin(2 * math.pi * turn)
    rotation = torch.tensor([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]])
    matrix: Tensor = torch.linalg.solve(_YIQ, rotation @ _YIQ)
    return matrix
