"""Where the time of a run goes, part by part; a part inside another one counts for itself only."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PHASES = ("decode", "read", "tissue", "gate", "encoder", "decoder", "write", "other")
"""What is told at the end: waiting for tiles to be decoded and for the rest of reading, finding
tissue, the classifier, SAM's two halves, and writing results; `other` is what no part covers.
"""


class PhaseTimer:
    """Seconds by part, from its making on."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._last = now()
        self._open = ["other"]
        self.seconds = dict.fromkeys(PHASES, 0.0)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time the block for this part; the part around it stands still."""
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    def move(self, source: str, target: str, share: float) -> None:
        """Count a share of a part's time for another."""
        seconds = self.seconds[source] * share
        self.seconds[source] -= seconds
        self.seconds[target] += seconds

    def total(self) -> float:
        """Seconds since the making."""
        self._charge()
        return sum(self.seconds.values())

    def _charge(self) -> None:
        now = self._now()
        self.seconds[self._open[-1]] += now - self._last
        self._last = now


class EtaEstimator:
    """How long the slides take that are still ahead, by the mean of those that were done."""

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead
        self._seconds: list[float] = []

    def note(self, seconds: float | None) -> None:
        """One less is ahead; `seconds` is None if it was not done, which tells nothing of the
        others.
        """
        self.ahead = max(0, self.ahead - 1)
        self._seconds += [] if seconds is None else [seconds]

    def left(self, elapsed: float = 0.0, share: float = 0.0) -> str:
        """Such as "50 s", "12 min" or "3 h 20 min". `elapsed` s went into the next slide, of which
        `share` is done.

        That slide counts by its own pace, and so do all as long as none is done.
        """
        if not share:
            return as_text(self.ahead * self._mean(0.0))
        whole = elapsed / share
        return as_text((self.ahead - 1) * self._mean(whole) + whole - elapsed)

    def _mean(self, unknown: float) -> float:
        return sum(self._seconds) / len(self._seconds) if self._seconds else unknown


def as_text(seconds: float) -> str:
    """A duration to read, no finer than is of use."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
