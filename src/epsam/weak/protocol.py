"""The slot of weak models: networks that learn from patch labels and say where they see tumour."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from epsam.config.classifier import ClassifierOptions
from epsam.core.device import DeviceConfig


class WeakPrediction(NamedTuple):
    """Logits (B, C) and maps (B, C, h, w), none below 0, of B images and C classes; C is 1: tumour.

    Maps are unscaled, in the network's own resolution.
    """

    logits: Tensor
    maps: Tensor


class WeakModel(Protocol):
    """A network that learns from patch labels; also a torch module (parameters, state dict, modes).

    Images are RGB (B, 3, side, side) float in 0..1. Two further methods are used where a network
    has them (`epsam.mil.network`): `set_normalisation(mean, std)` takes the colours of the training
    patches, and `parameter_groups(lr, side_lr_factor)` gives the optimiser's groups.
    """

    def __call__(self, images: Tensor) -> Tensor:
        """Tumour logits (B,)."""
        ...

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss of each image (B,), given labels (B,) of 0 and 1.

        With --subclasses it gets a third argument, the sub-classes (B,): 0 without tumour, else 1 …
        k. A model that can use them has an attribute `subclass_head` that is not None, and
        `pooled_features` of images, (B, C).
        """
        ...

    def predict(self, images: Tensor) -> WeakPrediction:
        """Logits and maps."""
        ...


class WeakMethod(Protocol):
    """What a row of `methods.WEAK_MODELS` names: a module with these functions.

    One whose networks start from torchvision's weights also has `IMAGENET_BACKBONE`, a key of
    `epsam.weak.imagenet.IMAGENET_FILES`.
    """

    def build(self, options: ClassifierOptions) -> Any:
        """The untrained network, with the weights that training starts from.

        Random weights depend on `options.seed` alone.
        """
        ...

    def save(self, path: Path, model: Any, extra: Mapping[str, Any]) -> None:
        """Write a checkpoint, whole or not at all, with the plain data of `extra` at its top."""
        ...

    def load(self, path: Path, device_config: DeviceConfig) -> Any:
        """The trained network of a checkpoint on its device, in evaluation mode.

        Raises WeightsError if the file does not fit.
        """
        ...
