"""Where a stage computes and in which arithmetic."""

import ctypes
import inspect
import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from epsam.core.errors import DeviceError

_MALLOPT = ((-4, 0, 65_536), (-1, 2**31 - 1, 2**26), (-3, 2**25, 2**25))
"""glibc's M_MMAP_MAX (blocks mapped one by one), M_TRIM_THRESHOLD and M_MMAP_THRESHOLD (bytes) by
its numbers for them: ours, and what it comes to by itself once large blocks were asked for.
"""


@dataclass(frozen=True)
class DeviceConfig:
    """A device and the arithmetic of its heavy layers; None is plain fp32."""

    device: torch.device
    autocast_dtype: torch.dtype | None

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which a network's forward pass runs."""
        if self.autocast_dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast_dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """What keeps small gradients from vanishing in fp16; for the other arithmetics it does
        nothing.
        """
        return torch.amp.GradScaler(self.device.type, enabled=self.autocast_dtype is torch.float16)


def select_device(device: str, precision: str) -> DeviceConfig:
    """The device configuration for `--device` and `--precision`.

    Raises DeviceError if a GPU was asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "--device cuda: PyTorch finds no usable GPU here; check the driver, or use --device cpu"
        )
    chosen = torch.device("cpu" if device == "cpu" or not torch.cuda.is_available() else "cuda")
    if chosen.type == "cpu":
        keep_freed_memory(True)
    if precision == "auto":
        precision = _fastest() if chosen.type == "cuda" else "fp32"
    return DeviceConfig(
        chosen, {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    )


def keep_freed_memory(on: bool) -> None:
    """Keep freed blocks in the process, or give large ones back at once as the C library does by
    itself.

    PyTorch asks for every result's memory anew, and pages that come back from the system have to be
    cleared first: up to a third of a network's pass on a CPU. Does nothing where the C library is
    not glibc.
    """
    if platform.libc_ver()[0] == "glibc":
        for setting, kept, given_back in _MALLOPT:
            ctypes.CDLL(None).mallopt(setting, kept if on else given_back)


def _fastest() -> str:
    """The arithmetic that the GPU has units for: bf16, else fp16, which needs its gradients scaled,
    else fp32.
    """
    if _has_bf16():
        return "bf16"
    # Tensor cores came with 7.0. Before, many cards had fp16 at a fraction of the speed of fp32.
    return "fp16" if torch.cuda.get_device_capability() >= (7, 0) else "fp32"


def _has_bf16() -> bool:
    """Whether the GPU computes in bf16 itself: one that only emulates it is slower that way than in
    fp32.
    """
    if "including_emulation" in inspect.signature(torch.cuda.is_bf16_supported).parameters:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # PyTorch 2.4 counts emulation without a word.
    return torch.cuda.get_device_capability() >= (8, 0)
