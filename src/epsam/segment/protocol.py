"""The slot of segmenters: networks that learn from masks of patches.

What a segmenter sees is its own: SAM's decoder takes prompted embeddings
(`epsam.segment.sam.segmenter`), and its tasks and prompts are in `epsam.training.decoder`. Rows of
`methods.SEGMENTERS` take images alone, and need no more than what is here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from torch import Tensor

from epsam.config.segmenter import SegmenterOptions
from epsam.core.device import DeviceConfig

Inputs = TypeVar("Inputs", contravariant=True)


class Segmenter(Protocol[Inputs]):
    """From a batch of B inputs to masks of C classes, of which 1 today: tumour.

    Inputs of a row of `methods.SEGMENTERS` are RGB images (B, 3, side, side) float in 0..1; it is
    also a torch module (parameters, state dict, modes).
    """

    def loss(self, inputs: Inputs, masks: Tensor, /) -> Tensor:
        """The loss of each input (B,), given masks (B, C, side, side) of 0 and 1."""
        ...

    def predict(self, inputs: Inputs, /) -> Tensor:
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
