"""Two implementations of the same computation, timed in turns in one process, and the target of
their ratio.
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
    """Names and times of two implementations, the plain one and this project's.

    unit: of the values. target: the least plain / ours that is aimed at.
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
        """The result as results.json holds it."""
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

    stock: whether the plain side runs with the C library's own handling of freed memory.
    """
    plain_seconds: list[float] = []
    our_seconds: list[float] = []
    sides = ((plain, plain_seconds, not stock), (ours, our_seconds, True))
    for repeat in range(repeats + 1):
        for call, seconds, keeps_memory in sides:
            keep_freed_memory(keeps_memory)
            # Switching returned the memory that the process had kept. An unmeasured call fills it
            # again, as in a stage, which makes thousands of calls.
            if stock and repeat:
                call()

            _wait(device)
            start = time.perf_counter()
            call()
            _wait(device)
            # The first turn warms up.
            if repeat:
                seconds.append(time.perf_counter() - start)
    return statistics.median(plain_seconds), statistics.median(our_seconds)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def check_close(name: str, plain: torch.Tensor, ours: torch.Tensor, tolerance: float) -> None:
    """Raise ValueError if two results differ by more than `tolerance`: comparing their times would
    mean nothing.
    """
    difference = (plain - ours).abs().max().item()
    # Written so that nan is refused, too.
    if not difference <= tolerance:
        raise ValueError(
            f"{name}: the two ways are {difference:g} apart, {tolerance:g} at most was expected; "
            "nothing was timed"
        )


def peak_mib() -> float:
    """Peak memory of this process, MiB."""
    # VmHWM starts anew with the process. ru_maxrss, the fallback, may hold a parent's peak.
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def describe_machine(device: str) -> dict[str, Any]:
    """What a time depends on; the machine's name is left out."""
    description: dict[str, Any] = {
        "cpu": _cpu_model(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device,
    }
    if device == "cuda":
        description["gpu"] = torch.cuda.get_device_name(0)
    return description


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
