"""The slot of segmenters: networks that learn from masks of patches.

SAM's decoder is prompted, so that its task and its prompts are in `epsam.training.decoder`. A
segmenter that sees nothing but the image needs no more than what is here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from epsam.config.segmenter import SegmenterOptions
from epsam.core.device import DeviceConfig


class Segmenter(Protocol):
    """A network from images to masks; also a torch module (parameters, state dict, modes).

    Images are RGB (B, 3, side, side) float in 0..1; C classes, of which 1 today: tumour.
    """

    def loss(self, images: Tensor, masks: Tensor) -> Tensor:
        """The loss of each image (B,), given masks (B, C, side, side) of 0 and 1."""
        ...

    def predict(self, images: Tensor) -> Tensor:
        """Probabilities (B, C, side, side)."""
        ...


class SegmenterMethod(Protocol):
    """What a row of `methods.SEGMENTERS` names: a module with these functions."""

    def build(self, options: SegmenterOptions) -> Any:
        """The untrained network; its random weights depend on `options.seed` alone."""
        ...

    def save(self, path: Path, model: Any, extra: Mapping[str, Any]) -> None:
        """Write a checkpoint, whole or not at all, with the plain data of `extra` at its top."""
        ...

    def load(self, path: Path, device_config: DeviceConfig) -> Any:
        """The trained network of a checkpoint on its device, in evaluation mode.

        Raises WeightsError if the file does not fit.
        """
        ...
