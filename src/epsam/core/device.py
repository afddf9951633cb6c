"""The device that a stage computes on, and the precision of its networks."""

import ctypes
import inspect
import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from epsam.core.distributed import current_world
from epsam.core.errors import DeviceError

_MALLOPT = ((-4, 0, 65_536), (-1, 2**31 - 1, 2**26), (-3, 2**25, 2**25))
"""(glibc's number for a setting, value that keeps freed memory, default value) for M_MMAP_MAX,
M_TRIM_THRESHOLD and M_MMAP_THRESHOLD. The default values are those that glibc adapts to once large
blocks were allocated.
"""


@dataclass(frozen=True)
class DeviceConfig:
    """A device, and the type that autocast computes heavy layers in; None is plain fp32."""

    device: torch.device
    autocast_dtype: torch.dtype | None

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which a network's forward pass runs."""
        if self.autocast_dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast_dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """Keeps small gradients from vanishing in fp16; does nothing for the other types."""
        return torch.amp.GradScaler(self.device.type, enabled=self.autocast_dtype is torch.float16)


def select_device(device: str, precision: str) -> DeviceConfig:
    """The device configuration for `--device` and `--precision`.

    Of the processes of one machine each has a GPU of its own. Raises DeviceError for `--device
    cuda` without a usable GPU, and for more processes than GPUs.
    """
    world = current_world()
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "--device cuda: PyTorch finds no usable GPU here; check the driver, or use --device cpu"
        )
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if not on_gpu:
        keep_freed_memory(True)

    if precision == "auto":
        precision = _fastest_precision() if on_gpu else "fp32"
    dtypes = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    if world.size == 1 or not on_gpu:
        return DeviceConfig(torch.device("cuda" if on_gpu else "cpu"), dtypes[precision])
    if world.local_rank >= torch.cuda.device_count():
        raise DeviceError(
            f"process {world.local_rank + 1} of this machine has no GPU: there are "
            f"{torch.cuda.device_count()}; start as many processes as GPUs, or use --device cpu"
        )
    torch.cuda.set_device(world.local_rank)
    return DeviceConfig(torch.device("cuda", world.local_rank), dtypes[precision])


def keep_freed_memory(on: bool) -> None:
    """Keep freed memory in the process, or return large blocks to the system (the default).

    PyTorch allocates each result anew, and the system clears every page before it hands it out: up
    to a third of a network's forward pass on a CPU. Does nothing if the C library is not glibc.
    """
    if platform.libc_ver()[0] == "glibc":
        for setting, keep, default in _MALLOPT:
            ctypes.CDLL(None).mallopt(setting, keep if on else default)


def _fastest_precision() -> str:
    """What the GPU has units for: bf16, else fp16 (which needs scaled gradients), else fp32."""
    if _has_bf16():
        return "bf16"
    # Tensor cores came with capability 7.0. Before, many cards ran fp16 at a fraction of fp32.
    return "fp16" if torch.cuda.get_device_capability() >= (7, 0) else "fp32"


def _has_bf16() -> bool:
    """Whether the GPU computes in bf16 itself; emulated, bf16 is slower than fp32."""
    if "including_emulation" in inspect.signature(torch.cuda.is_bf16_supported).parameters:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # PyTorch 2.4 cannot leave emulation out; bf16 units came with capability 8.0.
    return torch.cuda.get_device_capability() >= (8, 0)
