"""Class activation maps, rotated and fused (paper 3.2.2, Eq. 3)."""

import torch
from torch import Tensor

from epsam.classifier.resnet import AdlResNet
from epsam.errors import ImageError


def fused_activation(model: AdlResNet, images: Tensor, rotations: int = 4) -> tuple[Tensor, Tensor]:
    """Tumour probabilities (B,) and maps (B, h, w) in [0, 1], float32, of square RGB images (B, 3, H, H) in [0, 1].

    Each image is seen at `rotations` right angles (1 to 4) in one forward pass; each map is rotated back, their mean
    is scaled by its largest value. A map without activation stays 0. The probability is that of the upright image.
    Puts the model into evaluation mode.

    Raises ImageError if the images are not square: their rotations could not share a pass, nor their maps a frame.
    """
    height, width = images.shape[-2:]
    if height != width:
        raise ImageError(f"images of {width} × {height} px: activation maps need square ones; tile or resize them")
    model.eval()
    with torch.no_grad():
        views = torch.cat([torch.rot90(images, turn, dims=(-2, -1)) for turn in range(rotations)])
        logits, features = model.forward_features(views)
        maps = model.class_activation(features).chunk(rotations)
    upright = [torch.rot90(view, -turn, dims=(-2, -1)) for turn, view in enumerate(maps)]
    probabilities = logits[: len(images)].float().sigmoid()
    return probabilities, scaled(torch.stack(upright).mean(dim=0))


def scaled(maps: Tensor) -> Tensor:
    """Non-negative maps (B, h, w), each divided by its largest value; a map of zeros stays as it is."""
    largest = maps.amax(dim=(-2, -1), keepdim=True)
    return maps / torch.where(largest > 0, largest, 1.0)
