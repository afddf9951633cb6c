"""The one place where images, points and masks are converted between a patch's frame and SAM's."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from epsam.data.images import Rgb, resize_rgb
from epsam.segment.sam.specs import MINMAX_PIXELS, SAM_PIXELS, PixelScaling

Points = npt.NDArray[np.float32]

# SAM's own constants for RGB in 0–255 (segment_anything.build_sam).
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)

MAX_PROBABILITY = 0.99
"""This project: a CAM is clipped to 1 − this … this before its logit is taken, so that mask prompts
stay within ±4.6.
"""


@dataclass(frozen=True)
class SamFrame:
    """Square patches of `patch_size` px and SAM's square input of `sam_size` px.

    The published code scales the image but not the points, so that every prompt lies in the upper
    left quadrant; here both are scaled by the same factor (docs/deviations.md, "Points in SAM's
    frame").

    pixels: how the image's values are scaled for the encoder.
    """

    patch_size: int
    sam_size: int
    pixels: PixelScaling = SAM_PIXELS

    @property
    def scale(self) -> float:
        return self.sam_size / self.patch_size

    def to_sam_image(self, patch: Rgb) -> Tensor:
        """RGB patch (patch_size, patch_size, 3) → SAM's normalised input (3, sam_size, sam_size).

        Raises ValueError for a patch of another size.
        """
        if patch.shape[:2] != (self.patch_size, self.patch_size):
            raise ValueError(f"a patch of {self.patch_size} px expected, found {patch.shape}")
        resized = torch.from_numpy(resize_rgb(patch, self.sam_size, self.sam_size))
        pixels = resized.permute(2, 0, 1).float()
        if self.pixels == MINMAX_PIXELS:
            return _scale_to_unit_range(pixels)
        mean = torch.tensor(PIXEL_MEAN).view(3, 1, 1)
        std = torch.tensor(PIXEL_STD).view(3, 1, 1)
        return (pixels - mean) / std

    def to_sam_points(self, points_xy_patch: Points) -> Points:
        """Points (N, 2) as (x, y) in patch pixels → (x, y) in SAM's pixels."""
        return (points_xy_patch * self.scale).astype(np.float32)

    def to_mask_logits(self, cams: Tensor, size: tuple[int, int]) -> Tensor:
        """CAMs (B, h, w) in 0..1 of whole patches → logits (B, 1, *size), SAM's mask prompts."""
        resized = F.interpolate(cams[:, None], size, mode="bilinear", align_corners=False)
        return torch.logit(resized.clamp(1 - MAX_PROBABILITY, MAX_PROBABILITY))

    def to_patch_logits(self, low_res_logits: Tensor) -> Tensor:
        """Decoder logits (B, h, w) → logits (B, patch_size, patch_size)."""
        # By way of SAM's input size, as Sam.postprocess_masks does it.
        size = (self.sam_size, self.sam_size)
        large = F.interpolate(low_res_logits[:, None], size, mode="bilinear", align_corners=False)
        if self.patch_size != self.sam_size:
            size = (self.patch_size, self.patch_size)
            large = F.interpolate(large, size, mode="bilinear", align_corners=False)
        return large[:, 0]


def _scale_to_unit_range(pixels: Tensor) -> Tensor:
    """An image (3, h, w) scaled to 0..1 by its lowest and highest value; 0 if it has but one."""
    lowest, highest = pixels.min(), pixels.max()
    if lowest == highest:
        return torch.zeros_like(pixels)
    return (pixels - lowest) / (highest - lowest)
