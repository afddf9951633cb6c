"""What a check finds, and how findings of several checks are collected."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from epsam.core.errors import EpsamError


@dataclass(frozen=True)
class Finding:
    """One line for the user; `stops_run`: the run cannot finish unless it is mended. `is_note`:
    nothing is wrong.
    """

    message: str
    stops_run: bool
    is_note: bool = False


def problem(message: str) -> Finding:
    """A finding that stops the run."""
    return Finding(" ".join(message.split()), stops_run=True)


def warning(message: str) -> Finding:
    """A finding that the user should know of."""
    return Finding(" ".join(message.split()), stops_run=False)


def note(message: str) -> Finding:
    """A finding that tells what will be done with the data."""
    return Finding(" ".join(message.split()), stops_run=False, is_note=True)


def collect_findings(checks: Iterable[Callable[[], Iterable[Finding]]]) -> Iterator[Finding]:
    """The findings of all checks; an error raised by a check becomes a problem.

    The checks after it still run, so that the user sees everything in one list.
    """
    for check in checks:
        try:
            yield from check()
        except (EpsamError, OSError) as error:
            yield problem(str(error))
