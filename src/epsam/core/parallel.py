"""One function for many slides, in several processes."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from os import cpu_count
from typing import TypeVar

from epsam.core.errors import SlideError
from epsam.core.progress import track
from epsam.core.signals import exit_silently_on_interrupt

Task = TypeVar("Task")
Result = TypeVar("Result")


def parallel_map(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int, title: str
) -> Iterator[Result]:
    """Yield the function's results in the order of the tasks, with a progress bar.

    workers: number of processes; 0: one per core, 1: this process. The function has to be defined
    at module level (or be a partial of such a one), since it is sent to spawned processes. Raises
    SlideError if a process is killed.
    """
    count = min(workers or cpu_count() or 1, len(tasks))
    if count <= 1:
        yield from track(map(function, tasks), title, len(tasks), unit="slide")
        return

    # Spawned, not forked: a fork copies locks of threads (OpenCV, PyTorch) in whatever state.
    pool = ProcessPoolExecutor(
        count, mp_context=get_context("spawn"), initializer=exit_silently_on_interrupt
    )
    try:
        yield from track(pool.map(function, tasks), title, len(tasks), unit="slide")
    except BrokenProcessPool as error:
        raise SlideError(
            f"{title}: a process was killed, perhaps for memory; lower --workers (now {count})"
        ) from error
    finally:
        # After an error or Ctrl-C nobody waits for results that will not be used.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in active_children():
            process.terminate()
