"""The side to which images are resized for a classifier."""

from torch import Tensor
from torch.nn import functional as F


def resize_square(images: Tensor, side: int) -> Tensor:
    """Images (B, 3, H, H) at side × side px; as they are if `side` is 0 or theirs."""
    if not side or images.shape[-2:] == (side, side):
        return images
    # On a CPU, torch resizes with antialiasing in fp32 only; under autocast, augmented images
    # may come in bf16.
    return F.interpolate(
        images.float(),
        size=(side, side),
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )
