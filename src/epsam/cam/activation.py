"""Class activation maps, rotated and fused (paper 3.2.2, Eq. 3)."""

from collections.abc import Callable

import torch
from torch import Tensor

from epsam.classifier.resnet import AdlResNet
from epsam.errors import ImageError
from epsam.methods import CAM_METHODS, function_of

CamFunction = Callable[[AdlResNet, Tensor, str], tuple[Tensor, Tensor]]


def fused_activation(model: AdlResNet, images: Tensor, rotations: int = 4, cam: str = "enhanced_adl",
                     block: str = "") -> tuple[Tensor, Tensor]:
    """Tumour probabilities (B,) and maps (B, h, w) in [0, 1], float32, of square RGB images (B, 3, H, H) in [0, 1].

    Each image is seen at `rotations` right angles (1 to 4) in one forward pass; each map is rotated back, their mean
    is scaled by its largest value. A map without activation stays 0. The probability is that of the upright image.
    Puts the model into evaluation mode. `cam` names the method, `block` the features that it works on ("": the last).

    Raises ImageError if the images are not square: their rotations could not share a pass, nor their maps a frame.
    """
    height, width = images.shape[-2:]
    if height != width:
        raise ImageError(f"images of {width} × {height} px: activation maps need square ones; tile or resize them")
    method: CamFunction = function_of({name: row.function for name, row in CAM_METHODS.items()}, "--cam", cam)
    model.eval()
    with torch.no_grad():
        views = torch.cat([torch.rot90(images, turn, dims=(-2, -1)) for turn in range(rotations)])
        logits, maps = method(model, views, block)
    upright = [torch.rot90(view, -turn, dims=(-2, -1)) for turn, view in enumerate(maps.chunk(rotations))]
    probabilities = logits[: len(images)].float().sigmoid()
    return probabilities, scaled(torch.stack(upright).mean(dim=0))


def scaled(maps: Tensor) -> Tensor:
    """Non-negative maps (B, h, w), each divided by its largest value; a map of zeros stays as it is."""
    largest = maps.amax(dim=(-2, -1), keepdim=True)
    return maps / torch.where(largest > 0, largest, 1.0)
