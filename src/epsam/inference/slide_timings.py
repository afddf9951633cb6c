"""The seconds of a slide by phase: its timings.json, and the columns of timings.csv."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from epsam.core.errors import DatasetError
from epsam.core.files import read_json, write_json
from epsam.inference.progress import PhaseTimer

log = logging.getLogger(__name__)

TIMING_FILE = "timings.json"

_TOTALS = ("seconds", "windows_per_second")
"""Columns of timings.csv beside the phases, which depend on the model."""

Timing = dict[str, Any]
"""A row of timings.csv."""


def write_timing(folder: Path, slide: str, tiles: int, timer: PhaseTimer) -> None:
    """Write the seconds of a slide, and how many of its tiles were segmented in one of them."""
    seconds = timer.total()
    row: Timing = {
        "slide": slide,
        "seconds": round(seconds, 3),
        "windows_per_second": round(tiles / max(seconds, 1e-9), 3),
    }
    for phase, phase_seconds in timer.seconds.items():
        row[phase] = round(phase_seconds, 3)
    write_json(folder / TIMING_FILE, row)


def read_timing(folder: Path, slide: str) -> Timing | None:
    """The row of timings.csv of the slide; None if there is none or it is damaged."""
    path = folder / TIMING_FILE
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        content.pop("slide", None)
        seconds = {column: float(value) for column, value in content.items()}
        if missing := [column for column in _TOTALS if column not in seconds]:
            raise LookupError(missing[0])
    except (DatasetError, LookupError, TypeError, ValueError) as error:
        # Lost seconds are not worth segmenting the slide again.
        log.warning("%s: damaged (%r); the slide is done, and left out of timings.csv", path, error)
        return None
    return {"slide": slide, **seconds}


def timing_columns(timings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns of timings.csv for these rows: the phases are those of their models."""
    columns = dict.fromkeys(("slide", *_TOTALS))
    for row in timings:
        columns.update(dict.fromkeys(row))
    return list(columns)


def list_timed_phases(timings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The phases among the columns of timings.csv."""
    return timing_columns(timings)[1 + len(_TOTALS) :]
