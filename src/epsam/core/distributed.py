"""The processes that share a stage: how many there are, and what they send to each other.

A launcher starts them with RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, as torchrun
does. Nothing is connected at import: the group starts with the first value that is sent. Without
these variables there is one process, which sends nothing.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from epsam.core.errors import DeviceError, ProcessLostError

if TYPE_CHECKING:
    from torch import Tensor

Item = TypeVar("Item")

TIMEOUT = timedelta(minutes=60)
"""This project: how long a process waits for the others, one of which may validate or encode alone
meanwhile. A process that ends is noticed at once.
"""
_POLL_S = 0.05


@dataclass(frozen=True)
class World:
    """This process, `rank`, among `size` processes; `local_rank` counts those of one machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes, logs, shows progress and holds locks."""
        return self.rank == 0

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> "World":
        """The process that a launcher has numbered. Raises DeviceError for what is no number."""
        texts = [variables.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
        if not any(texts[:2]):
            return cls()
        numbers = [int(text) if text.isdecimal() else -1 for text in texts]
        rank, size, local_rank = numbers
        if not 0 <= rank < size or local_rank < 0:
            raise DeviceError(
                f"RANK={texts[0]} WORLD_SIZE={texts[1]} LOCAL_RANK={texts[2]}: not the numbers of "
                "a process; start through GPUS=n ./train.sh or torchrun, or unset them"
            )
        return cls(rank, size, local_rank)


_started: list[World] = []
"""This process, once its group is started."""


def current_world() -> World:
    """This process among those that share the stage."""
    return _started[0] if _started else World.from_variables(os.environ)


def is_main_process() -> bool:
    """Whether this process writes, logs, shows progress and holds locks."""
    return current_world().is_main


def start_group(world: World, meeting_point: str = "env://") -> None:
    """Connect this process with the others of `world`; does nothing if that is done.

    meeting_point: "env://" for MASTER_ADDR and MASTER_PORT, or "file://<path>". Raises
    DeviceError if these are not set, and ProcessLostError if another process has ended.
    """
    if _started:
        return
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing and meeting_point == "env://":
        raise DeviceError(
            f"{' and '.join(missing)}: not set, so that the {world.size} processes cannot meet; "
            "start through GPUS=n ./train.sh or torchrun, or set them"
        )
    import torch
    from torch import distributed

    # Tensors of a GPU travel by NCCL, and everything else by gloo.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    connect = partial(
        distributed.init_process_group,
        backend,
        init_method=meeting_point,
        rank=world.rank,
        world_size=world.size,
        timeout=TIMEOUT,
    )
    with _name_lost_processes():
        _run_beside(connect)
    _started.append(world)


def end_group() -> None:
    """Disconnect this process from the others."""
    if _started:
        from torch import distributed

        distributed.destroy_process_group()
        _started.clear()


def gather_tensors(tensor: "Tensor") -> list["Tensor"]:
    """The tensors of all processes in the order of their ranks; all have the same shape.

    Raises ProcessLostError if a process has ended.
    """
    world = _connect()
    if world.size == 1:
        return [tensor]
    import torch
    from torch import distributed

    parts = []
    for _ in range(world.size):
        parts.append(torch.empty_like(tensor, memory_format=torch.contiguous_format))
    with _name_lost_processes():
        distributed.all_gather(parts, tensor.contiguous())
    return parts


def gather_objects(value: Item) -> list[Item]:
    """The values of all processes in the order of their ranks; plain Python data.

    Raises ProcessLostError if a process has ended.
    """
    world = _connect()
    if world.size == 1:
        return [value]
    from torch import distributed

    values: list[Any] = [None] * world.size
    with _name_lost_processes():
        # By a tensor of the CPU: the group has gloo for those.
        distributed.all_gather_object(values, value)
    return values


def is_true_of_any(value: bool) -> bool:
    """Whether `value` is true in any process."""
    world = _connect()
    if world.size == 1:
        return value
    import torch

    return any(bool(flag) for flag in gather_tensors(torch.tensor([value])))


def wait_for_all() -> None:
    """Go on when all processes have come to this point."""
    is_true_of_any(False)


def part_of_process(items: Sequence[Item]) -> Sequence[Item]:
    """Every n-th item, of n processes, for this one."""
    world = current_world()
    return items[world.rank :: world.size]


def gather_parts(results: list[Item]) -> list[Item]:
    """The results of all items in their order, from those of each `part_of_process`."""
    by_rank = gather_objects(results)
    if len(by_rank) == 1:
        return results
    ordered = []
    for index in range(sum(len(part) for part in by_rank)):
        ordered.append(by_rank[index % len(by_rank)][index // len(by_rank)])
    return ordered


def _run_beside(connect: Callable[[], object]) -> None:
    """Run `connect` in a thread of its own, so that requests to stop are heeded while it waits for
    other processes: torch itself heeds none then.
    """
    errors: list[Exception] = []

    def run() -> None:
        try:
            connect()
        except Exception as error:  # noqa: BLE001
            # Raised again below: an error that stays in this thread would pass for a connection.
            errors.append(error)

    # No process waits for it at its end.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_POLL_S)
    if errors:
        raise errors[0]


def _connect() -> World:
    world = current_world()
    if world.size > 1:
        start_group(world)
    return world


@contextmanager
def _name_lost_processes() -> Iterator[None]:
    """Let torch's errors of a broken connection be ones that say nothing to the user.

    The process that has ended says why.
    """
    try:
        yield
    except RuntimeError as error:
        raise ProcessLostError(
            "another process of this stage has ended; its own message says why"
        ) from error
