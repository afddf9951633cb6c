"""Where the time of a run goes, part by part; a part inside another one counts for itself only."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tqdm import tqdm

Tick = Callable[[int], object]

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


LONGEST_NAME = 20
"""Ours: characters of a slide's name; a longer one would push the times off a narrow terminal."""


@contextmanager
def slide_progress(place: str, name: str, pace: EtaEstimator) -> Iterator[Callable[[int], Tick]]:
    """Gives what opens the bar for a number of windows, and in turn gives what is called with each
    number done.

    `place` is such as "3/40". The bar goes when the slide is done: a line in the log says so.
    """
    with ExitStack() as bars:

        def opened(windows: int) -> Tick:
            bar = bars.enter_context(
                tqdm(
                    total=windows,
                    desc=f"{place} {_short(name)}",
                    unit="window",
                    disable=None,
                    leave=False,
                )
            )

            def tick(done: int) -> None:
                if pace.ahead > 1 and not bar.disable:
                    left = pace.left(bar.format_dict["elapsed"], (bar.n + done) / windows)
                    bar.set_postfix_str(f"all in {left}", refresh=False)
                bar.update(done)

            return tick

        yield opened


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
