"""How far a long step is: a bar on a terminal; elsewhere, as in the log of a job, lines."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from epsam.core.distributed import is_main_process
from epsam.core.durations import format_duration

log = logging.getLogger(__name__)

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 60.0
"""This project: what is done within a minute gets no line."""


class ProgressLog:
    """A log line each minute, with the time left by the mean time of what is done."""

    def __init__(self, title: str, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._title, self._total, self._clock = title, total, clock
        self._done = 0
        self._started = self._last_line = clock()

    def advance(self) -> None:
        """Count one more that is done."""
        self._done += 1
        now = self._clock()
        if self._done >= self._total or now - self._last_line < SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        seconds = time_left(now - self._started, self._done, self._total)
        log.info(
            "%s: %d of %d, %s left", self._title, self._done, self._total, format_duration(seconds)
        )


def track(
    items: Iterable[Item],
    title: str,
    total: int,
    unit: str = "it",
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Item]:
    """The items, behind a progress bar on a terminal and with a `ProgressLog` elsewhere."""
    lines = ProgressLog(title, total, clock)
    with tqdm(total=total, desc=title, unit=unit, disable=bar_is_off(), leave=False) as bar:
        for item in items:
            yield item
            bar.update()
            if bar.disable:
                lines.advance()


def bar_is_off() -> bool | None:
    """Whether a progress bar is off; None: shown where there is a terminal.

    Of the processes that share a stage, the main one shows it.
    """
    return None if is_main_process() else True


def time_left(elapsed: float, n_done: int, total: int) -> float:
    """Seconds for the rest, if each takes as long as those that are done."""
    return elapsed / n_done * (total - n_done)
