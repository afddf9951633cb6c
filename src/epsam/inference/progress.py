"""Where the time of a slide goes, how much is left, and the progress bar that tells it."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType

from tqdm import tqdm

from epsam.core.durations import format_duration

_PHASES_BEFORE = ("decode", "read", "tissue")
_PHASES_AFTER = ("write", "other")


def list_phases(model_phases: Iterable[str]) -> tuple[str, ...]:
    """Columns of timings.csv: waiting for JPEG tiles to be decoded and for the rest of reading,
    finding tissue, the phases of the model, writing results; `other` is what remains.
    """
    return (*_PHASES_BEFORE, *model_phases, *_PHASES_AFTER)


MAX_NAME_LENGTH = 20
"""This project: a longer slide name would push the times off a narrow terminal."""


class PhaseTimer:
    """Seconds by phase since the timer was made."""

    def __init__(
        self, model_phases: Iterable[str], now: Callable[[], float] = time.perf_counter
    ) -> None:
        """model_phases: names of the phases that a `TileModel` times."""
        self._now = now
        self._last = now()
        self._running = ["other"]
        self.seconds = dict.fromkeys(list_phases(model_phases), 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the block as this phase; the phase around it pauses."""
        self._charge()
        # A stack: a phase inside of another one is charged for itself only.
        self._running.append(name)
        try:
            yield
        finally:
            self._charge()
            self._running.pop()

    def move(self, source: str, target: str, fraction: float) -> None:
        """Count a fraction of a phase's seconds as those of another phase."""
        seconds = self.seconds[source] * fraction
        self.seconds[source] -= seconds
        self.seconds[target] += seconds

    def total(self) -> float:
        """Seconds since the timer was made."""
        self._charge()
        return sum(self.seconds.values())

    def _charge(self) -> None:
        now = self._now()
        self.seconds[self._running[-1]] += now - self._last
        self._last = now


class EtaEstimator:
    """Time left for slides, from the mean time of those that this run has segmented."""

    def __init__(self, pending: Iterable[str], n_processes: int = 1) -> None:
        """`pending` are the names of the slides that are to be segmented, by all processes."""
        self._n_processes = n_processes
        self._pending = set(pending)
        self._seconds: list[float] = []

    @property
    def n_pending(self) -> int:
        return len(self._pending)

    def slide_ended(self, name: str, seconds: float | None) -> None:
        """`seconds` is None if the slide was not segmented, which says nothing about the rest."""
        self._pending.discard(name)
        if seconds is not None:
            self._seconds.append(seconds)

    def time_left(self, elapsed: float = 0.0, fraction: float = 0.0) -> str:
        """Such as "50 s", "12 min" or "3 h 20 min".

        `fraction` of the current slide was done in `elapsed` seconds. The current slide goes on at
        its own speed; until a first slide is done, all are taken to be like the current one.
        """
        if not fraction:
            seconds = self.n_pending * self._mean_seconds(0.0)
            return format_duration(seconds / self._n_processes)
        # Slides differ in size, so that the current one is judged by itself.
        current = elapsed / fraction
        following = (self.n_pending - 1) * self._mean_seconds(current)
        return format_duration(following / self._n_processes + current - elapsed)

    def _mean_seconds(self, default: float) -> float:
        return sum(self._seconds) / len(self._seconds) if self._seconds else default


class SlideProgress:
    """The progress bar of one slide, which also tells the time left for all slides.

    Use it in a `with` block. The bar is removed at the end: a line in the log follows it.
    """

    def __init__(self, position: str, name: str, eta: EtaEstimator) -> None:
        """`position` is such as "3/40"."""
        short = name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 1]}…"
        self._title = f"{position} {short}"
        self._eta = eta
        self._tiles = 0
        self._bar: tqdm | None = None

    def __enter__(self) -> "SlideProgress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def start(self, tiles: int) -> None:
        """Open the bar for this number of tiles, which is known once the tissue is."""
        self._tiles = tiles
        self._bar = tqdm(total=tiles, desc=self._title, unit="tile", disable=None, leave=False)

    def advance(self, tiles: int) -> None:
        """Count tiles that are done."""
        bar = self._bar
        if bar is None:
            return
        # On the last slide the bar's own estimate says the same.
        if self._eta.n_pending > 1 and not bar.disable:
            fraction = (bar.n + tiles) / self._tiles
            left = self._eta.time_left(bar.format_dict["elapsed"], fraction)
            bar.set_postfix_str(f"all in {left}", refresh=False)
        bar.update(tiles)
