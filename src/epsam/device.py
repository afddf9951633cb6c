"""Where a stage computes and in which arithmetic."""

import inspect
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
    half = precision == "bf16" or (precision == "auto" and chosen.type == "cuda" and _has_bf16())
    return Compute(chosen, torch.bfloat16 if half else None)


def _has_bf16() -> bool:
    """Whether the GPU computes in bf16 itself: one that only emulates it is slower that way than in fp32."""
    if "including_emulation" in inspect.signature(torch.cuda.is_bf16_supported).parameters:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # PyTorch 2.4 counts emulation without a word.
    return torch.cuda.get_device_capability() >= (8, 0)
