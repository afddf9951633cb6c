"""Where a stage computes and in which arithmetic."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from epsam.errors import DeviceError


@dataclass(frozen=True)
class Compute:
    """A device and the arithmetic of its heavy layers; None is plain fp32."""

    device: torch.device
    autocast_dtype: torch.dtype | None

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which a network's forward pass runs."""
        if self.autocast_dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast_dtype)


def pick_compute(device: str, precision: str) -> Compute:
    """The compute for `--device` and `--precision`.

    Raises DeviceError if a GPU was asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("--device cuda: PyTorch finds no usable GPU here; check the driver, or use --device cpu")
    chosen = torch.device("cpu" if device == "cpu" or not torch.cuda.is_available() else "cuda")
    half = precision == "bf16" or (precision == "auto" and chosen.type == "cuda" and torch.cuda.is_bf16_supported())
    return Compute(chosen, torch.bfloat16 if half else None)
