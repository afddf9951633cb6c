"""The progress bar of a slide, which tells of all slides too."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tqdm import tqdm

from epsam.inference.phase_timer import EtaEstimator
from epsam.inference.slide import Tick

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
