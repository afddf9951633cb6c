"""Class activation maps, rotated and fused (paper 3.2.2, Eq. 3)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from epsam.core.errors import ImageError
from epsam.methods import CAM_METHODS, load_function
from epsam.weak.resnet import AdlResNet

CamFunction = Callable[[AdlResNet, Tensor, str], tuple[Tensor, Tensor]]


def rotation_averaged_cam(
    model: AdlResNet, images: Tensor, rotations: int = 4, cam: str = "enhanced_adl", block: str = ""
) -> tuple[Tensor, Tensor]:
    """Tumour probabilities (B,) and maps (B, h, w) in [0, 1], float32, of square RGB images (B, 3,
    H, H) in [0, 1].

    Each image is seen at `rotations` right angles (1 to 4) in one forward pass; each map is rotated
    back, their mean is scaled by its largest value. A map without activation stays 0. The
    probability is that of the upright image. Puts the model into evaluation mode. `cam` names the
    method, `block` the features that it works on ("": the last).

    Raises ImageError if the images are not square: their rotations could not share a pass, nor
    their maps a frame.
    """
    probabilities, maps = cam_per_rotation(model, images, range(rotations), cam, block)
    return probabilities[0], average_cam(maps)


def cam_per_rotation(
    model: AdlResNet,
    images: Tensor,
    turns: Sequence[int],
    cam: str = "enhanced_adl",
    block: str = "",
) -> tuple[Tensor, Tensor]:
    """Tumour probabilities (T, B) and maps (T, B, h, w) of images (B, 3, H, H) seen after each
    number of right angles.

    The maps are rotated back and not scaled yet. One forward pass; the rest is as for
    `fused_activation`.
    """
    height, width = images.shape[-2:]
    if height != width:
        raise ImageError(
            f"images of {width} × {height} px: activation maps need square ones; tile or resize them"
        )
    method: CamFunction = load_function(
        {name: row.function for name, row in CAM_METHODS.items()}, "--cam", cam
    )
    model.eval()
    with torch.no_grad():
        views = torch.cat([torch.rot90(images, turn, dims=(-2, -1)) for turn in turns])
        logits, maps = method(model, views, block)
    parts = zip(turns, maps.chunk(len(turns)), strict=True)
    upright = torch.stack([torch.rot90(view, -turn, dims=(-2, -1)) for turn, view in parts])
    return logits.float().sigmoid().view(len(turns), len(images)), upright


def average_cam(maps: Tensor) -> Tensor:
    """The mean of maps (T, B, h, w) over the rotations, scaled to [0, 1]: (B, h, w) (paper Eq.
    3).
    """
    return scale_to_maximum(maps.mean(dim=0))


def scale_to_maximum(maps: Tensor) -> Tensor:
    """Non-negative maps (B, h, w), each divided by its largest value; a map of zeros stays as it
    is.
    """
    largest = maps.amax(dim=(-2, -1), keepdim=True)
    return maps / torch.where(largest > 0, largest, 1.0)
