"""The one place where images, points and masks pass between a patch's frame and SAM's."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from epsam.data.images import Rgb, resize_rgb

Points = npt.NDArray[np.float32]

# SAM's own constants for RGB in 0–255 (segment_anything.build_sam).
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)

MAX_PROBABILITY = 0.99
"""Ours: activations are read as probabilities from 1 − this to this, so that mask prompts stay
within ±4.6.
"""


@dataclass(frozen=True)
class SamFrame:
    """Square patches of `patch_size` px beside SAM's square input of `sam_size` px.

    The published code scaled the image and left the points behind, so that every prompt fell into
    the upper left quadrant (methods D1); here both are scaled by the same factor.
    """

    patch_size: int
    sam_size: int

    @property
    def scale(self) -> float:
        return self.sam_size / self.patch_size

    def image(self, patch: Rgb) -> Tensor:
        """SAM's input (3, sam_size, sam_size), normalised, for an RGB patch (patch_size,
        patch_size, 3).
        """
        if patch.shape[:2] != (self.patch_size, self.patch_size):
            raise ValueError(f"a patch of {self.patch_size} px expected, found {patch.shape}")
        pixels = (
            torch.from_numpy(resize_rgb(patch, self.sam_size, self.sam_size))
            .permute(2, 0, 1)
            .float()
        )
        mean, std = torch.tensor(PIXEL_MEAN).view(3, 1, 1), torch.tensor(PIXEL_STD).view(3, 1, 1)
        return (pixels - mean) / std

    def points(self, points_xy_patch: Points) -> Points:
        """Points (N, 2) as (x, y) in patch pixels → (x, y) in SAM's pixels."""
        return (points_xy_patch * self.scale).astype(np.float32)

    def mask_prompts(self, activations: Tensor, size: tuple[int, int]) -> Tensor:
        """Activations (B, h, w) in 0..1 of whole patches → logits (B, 1, *size), SAM's mask
        prompts.
        """
        resized = F.interpolate(activations[:, None], size, mode="bilinear", align_corners=False)
        return torch.logit(resized.clamp(1 - MAX_PROBABILITY, MAX_PROBABILITY))

    def masks(self, low_res_logits: Tensor) -> Tensor:
        """Decoder logits (B, h, w) → logits (B, patch_size, patch_size), by way of SAM's input size
        as SAM does it.
        """
        size = (self.sam_size, self.sam_size)
        large = F.interpolate(low_res_logits[:, None], size, mode="bilinear", align_corners=False)
        if self.patch_size != self.sam_size:
            size = (self.patch_size, self.patch_size)
            large = F.interpolate(large, size, mode="bilinear", align_corners=False)
        return large[:, 0]
