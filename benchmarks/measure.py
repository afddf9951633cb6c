"""Two ways of doing one thing, timed in turns in one process, and what their ratio is compared
with.
"""

import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from epsam.core.device import keep_freed_memory


@dataclass(frozen=True)
class Comparison:
    """Seconds (or another `unit`) of the plain way and of ours; `target`: what plain / ours has to
    reach at least.
    """

    plain: str
    plain_value: float
    ours: str
    ours_value: float
    target: float
    unit: str = "s"
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.plain_value / self.ours_value

    def as_row(self) -> dict[str, Any]:
        return {
            "plain": self.plain,
            "plain_value": self.plain_value,
            "ours": self.ours,
            "ours_value": self.ours_value,
            "unit": self.unit,
            "ratio": self.ratio,
            "target": self.target,
            "met": self.ratio >= self.target,
            "note": self.note,
        }


def in_turns(
    plain: Callable[[], Any],
    ours: Callable[[], Any],
    device: str,
    repeats: int = 5,
    stock: bool = False,
) -> tuple[float, float]:
    """Median seconds of each side: one unmeasured call each, then `repeats` calls in turns.

    `stock`: the plain side is not ours, and thus has memory as the C library handles it by itself.
    Then each measured call follows an unmeasured one, as a stage makes thousands: the switch has
    given back what was kept before.
    """
    taken: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for seconds, work, kept in zip(taken, (plain, ours), (not stock, True), strict=True):
            keep_freed_memory(kept)
            if stock and repeat:
                work()
            _wait(device)
            start = time.perf_counter()
            work()
            _wait(device)
            if repeat:
                seconds.append(time.perf_counter() - start)
    return statistics.median(taken[0]), statistics.median(taken[1])


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def check_close(what: str, plain: torch.Tensor, ours: torch.Tensor, most: float) -> None:
    """Raise ValueError if two ways are further than `most` apart: their times are not to be
    compared then.
    """
    apart = (plain - ours).abs().max().item()
    if not apart <= most:
        raise ValueError(
            f"{what}: the two ways are {apart:g} apart, {most:g} at most was expected; nothing was timed"
        )


def peak_mib() -> float:
    """Most memory that this process held, MiB; of the operating system's two figures the one that a
    parent leaves.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    held = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return held[0] / 1024 if held else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine(device: str) -> dict[str, Any]:
    """What a figure depends on, without the machine's name."""
    described: dict[str, Any] = {
        "cpu": _cpu(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device,
    }
    if device == "cuda":
        described["gpu"] = torch.cuda.get_device_name(0)
    return described


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
