"""Class activation maps averaged over rotations (paper 3.2.2, Eq. 3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from epsam.cam.protocol import PredictMaps
from epsam.core.errors import EpsamError, ImageError
from epsam.methods import CAM_METHODS, load_function
from epsam.weak.cam_classifier import CamClassifier
from epsam.weak.protocol import WeakModel

CamMethodFunction = Callable[[CamClassifier, Tensor, str], tuple[Tensor, Tensor]]
"""A CAM method: (model, images (B, 3, H, H), block) → logits (B,) and maps (B, h, w)."""


def rotation_averaged_cam(
    model: Any, images: Tensor, rotations: int = 4, cam: str = "enhanced_adl", block: str = ""
) -> tuple[Tensor, Tensor]:
    """Tumour probabilities (B,) and CAMs (B, h, w), float32 in 0..1, of square RGB images (B, 3, H,
    H) in 0..1.

    The CAMs of the first `rotations` (1 to 4) right-angle rotations are rotated back, averaged, and
    scaled by their largest value; a CAM of zeros stays 0. The probability is that of the image as
    it is. All rotations share one forward pass; the model is set to evaluation mode.

    model: a `WeakModel`. cam: the CAM method; "": the model makes its maps itself. block: the block
    whose features it uses; "": the last.

    Raises ImageError if the images are not square.
    """
    predict = select_cam(model, cam, block)
    model.eval()
    return RotationAverage(rotations)(predict, images)


@dataclass(frozen=True)
class RotationAverage:
    """The paper's map refiner: the mean over the first `rotations` right-angle rotations (Eq.
    3).
    """

    rotations: int = 4

    def __call__(self, predict: PredictMaps, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `MapRefiner`."""
        probabilities, cams = predict_rotated(predict, images, range(self.rotations))
        return probabilities[0], average_cam(cams)

    def refine(self, predict: PredictMaps, images: Tensor, maps: Tensor) -> Tensor:
        """See `MapRefiner`."""
        # The upright CAMs are there already; only the other rotations cost a forward pass.
        cams = maps[None]
        turns = range(1, self.rotations)
        if turns:
            _, rotated = predict_rotated(predict, images, turns)
            # Autocast may leave bfloat16.
            cams = torch.cat([cams, rotated.float()])
        return average_cam(cams)


def predict_rotated(
    predict: PredictMaps, images: Tensor, turns: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Tumour probabilities (T, B) and maps (T, B, h, w), float32, of images (B, 3, H, H) rotated by
    each number of right angles.

    The maps are rotated back and not scaled yet. Raises ImageError if the images are not square.
    """
    # A quarter turn of an image that is not square has another shape: it could not share a batch
    # with the upright one, nor its CAM a frame.
    height, width = images.shape[-2:]
    if height != width:
        raise ImageError(
            f"images of {width} × {height} px: class activation maps need square ones; "
            "tile or resize them"
        )

    with torch.no_grad():
        rotated = torch.cat([torch.rot90(images, turn, dims=(-2, -1)) for turn in turns])
        logits, cams = predict(rotated)

    upright = []
    for turn, chunk in zip(turns, cams.chunk(len(turns)), strict=True):
        upright.append(torch.rot90(chunk, -turn, dims=(-2, -1)))
    probabilities = logits.float().sigmoid().view(len(turns), len(images))
    return probabilities, torch.stack(upright)


def select_cam(model: Any, cam: str, block: str) -> PredictMaps:
    """How a weak model's maps are made: by a CAM method and block, or with "" for `cam` by itself.

    Raises EpsamError if the model has no features for a CAM method.
    """
    if not cam and not block:
        return partial(_predict_tumour, model)
    functions = {name: method.function for name, method in CAM_METHODS.items()}
    function = load_function(functions, "--cam", cam or trained_cam(model) or "enhanced_adl")
    if not hasattr(model, "forward_features"):
        raise EpsamError(
            f"--cam {cam} --cam_layer {block}: {type(model).__name__} makes its maps itself; "
            "leave both out"
        )
    return partial(_call_method, function, model, block)


def trained_cam(model: Any) -> str:
    """The CAM method that a classifier is trained for; "" for a model that makes maps itself."""
    return str(model.spec.cam) if hasattr(model, "forward_features") else ""


def _predict_tumour(model: WeakModel, images: Tensor) -> tuple[Tensor, Tensor]:
    # Class 0 of 1: tumour.
    prediction = model.predict(images)
    return prediction.logits[:, 0], prediction.maps[:, 0]


def _call_method(
    function: CamMethodFunction, model: CamClassifier, block: str, images: Tensor
) -> tuple[Tensor, Tensor]:
    return function(model, images, block)


def average_cam(cams: Tensor) -> Tensor:
    """The mean of CAMs (T, B, h, w) over the rotations, scaled to 0..1: (B, h, w) (paper Eq. 3)."""
    # Scaled once, after the mean (docs/deviations.md, "Average over rotations").
    return scale_to_maximum(cams.mean(dim=0))


def scale_to_maximum(cams: Tensor) -> Tensor:
    """Non-negative CAMs (B, h, w), each divided by its largest value.

    A CAM of zeros stays as it is (docs/deviations.md, "Empty maps").
    """
    largest = cams.amax(dim=(-2, -1), keepdim=True)
    return cams / torch.where(largest > 0, largest, 1.0)
