"""One thing that was found wrong."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from epsam.core.errors import EpsamError


@dataclass(frozen=True)
class Finding:
    """A line for the user; `stops`: the run cannot come to its end with it."""

    text: str
    stops: bool


def problem(text: str) -> Finding:
    """A finding that stops the run."""
    return Finding(" ".join(text.split()), stops=True)


def warning(text: str) -> Finding:
    """A finding that the user should know of."""
    return Finding(" ".join(text.split()), stops=False)


def collect_findings(checks: Iterable[Callable[[], Iterable[Finding]]]) -> Iterator[Finding]:
    """What all checks find; an error that one of them runs into is a problem and does not end the
    others.
    """
    for check in checks:
        try:
            yield from check()
        except (EpsamError, OSError) as error:
            yield problem(str(error))
