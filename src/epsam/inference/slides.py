"""Many slides: finished ones are skipped, one that fails does not stop the others, results appear
whole.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from epsam.core.errors import BusyError, DatasetError, EpsamError
from epsam.core.files import DISK_FULL, quick_hash, read_json, write_json
from epsam.core.locking import exclusive_lock
from epsam.evaluation.slide_scores import ResultFrame
from epsam.extraction.discovery import FAILED, SlideRecord
from epsam.inference.inputs import RECORD
from epsam.inference.progress import EtaEstimator, PhaseTimer, Tick, slide_progress
from epsam.inference.slide import SlideRule, segment_slide
from epsam.inference.streaming import TileModel

log = logging.getLogger(__name__)

TIMINGS = "timings.json"
LOCKS = ".locks"

Row = dict[str, Any]


@dataclass(frozen=True)
class SlideResult:
    """What is kept of a slide: its row of slides.csv, the fingerprint of its making, and its frame
    unless it failed.

    `sizes` are the bytes of each result by file name.
    """

    row: Row
    fingerprint: str
    frame: ResultFrame | None
    sizes: dict[str, int]


def segment_slides(
    records: Sequence[SlideRecord],
    network: TileModel,
    rule: SlideRule,
    output: Path,
    fingerprint: str,
) -> list[SlideRecord]:
    """Write `output`/<slide>/ for each slide that is not finished with the same fingerprint (see
    `fingerprint_of`).

    Returns the slides that were done, now or before, or failed: all but those at which another run
    is still working.
    """
    left = []
    pace = EtaEstimator(sum(not is_finished(record, output, fingerprint) for record in records))
    for number, record in enumerate(records, start=1):
        place = f"{number}/{len(records)}"
        try:
            with exclusive_lock(
                output / LOCKS / record.name, "give this one another OUTPUT_DIR or --output_dir"
            ):
                if is_finished(record, output, fingerprint):
                    log.info("%s: finished before", record.name)
                    continue
                seconds = _segment(
                    record,
                    network,
                    rule,
                    output / record.name,
                    slide_fingerprint(record, fingerprint),
                    place,
                    pace,
                )
        except BusyError as error:
            log.info("%s: left to the other run: %s", record.name, error)
            left.append(record)
            seconds = None
        pace.note(seconds)
        if seconds is not None:
            more = f", about {pace.left()} left" if pace.ahead else ""
            log.info("%s: done in %.0f s, %s slides%s", record.name, seconds, place, more)
    return _without(
        records, [record for record in left if not is_finished(record, output, fingerprint)]
    )


def _without(records: Sequence[SlideRecord], left: Sequence[SlideRecord]) -> list[SlideRecord]:
    if left:
        log.warning(
            "%d slides are left to the other run, not in the tables: %s; once it has ended, --merge adds them",
            len(left),
            ", ".join(record.name for record in left),
        )
    return [record for record in records if record not in left]


def is_finished(record: SlideRecord, output: Path, fingerprint: str) -> bool:
    """Whether the slide's results are there, made with this fingerprint of the run."""
    kept = read_slide_result(output, record.name)
    return bool(
        is_current(record, kept, output, fingerprint) and kept and kept.row["status"] == "done"
    )


def is_current(
    record: SlideRecord, kept: SlideResult | None, output: Path, fingerprint: str
) -> bool:
    """Whether what is kept of a slide, done or failed, is of this fingerprint of the run, and its
    files are whole.
    """
    if kept is None or kept.fingerprint != slide_fingerprint(record, fingerprint):
        return False
    found = sizes_in(output / record.name)
    changed = [name for name, size in kept.sizes.items() if found.get(name) != size]
    if changed:
        log.warning(
            "%s: %s cut, changed or missing; the slide is done again",
            output / record.name,
            ", ".join(changed),
        )
    return not changed


def sizes_in(folder: Path) -> dict[str, int]:
    """Bytes of each result in a slide's folder; those that time it differ from run to run and are
    left out.
    """
    return {
        path.name: path.stat().st_size
        for path in sorted(folder.iterdir())
        if path.name not in (RECORD, TIMINGS)
    }


def slide_fingerprint(record: SlideRecord, fingerprint: str) -> str:
    """The run's fingerprint with a sketch of the slide's file."""
    sketch = quick_hash(record.path) if record.path and record.path.is_file() else ""
    return f"{fingerprint}-{sketch}"


def read_slide_result(output: Path, name: str) -> SlideResult | None:
    """What is kept of a slide; None if there is nothing, or if it is damaged."""
    path = output / name / RECORD
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        return SlideResult(
            {"slide": name, **content["row"], "status": content["row"]["status"]},
            content["fingerprint"],
            ResultFrame(**content["frame"]) if content["frame"] else None,
            dict(content.get("files", {})),
        )
    except (DatasetError, LookupError, TypeError, ValueError) as error:
        log.warning("%s: damaged (%r); the slide is done again", path, error)
        return None


def check_complete(records: Sequence[SlideRecord], output: Path, fingerprint: str) -> None:
    """Raise DatasetError unless a result, or the reason of a failure, is kept of every slide with
    this fingerprint.
    """
    missing = [
        record.name
        for record in records
        if not is_current(record, read_slide_result(output, record.name), output, fingerprint)
    ]
    if missing:
        raise DatasetError(
            f"{output}: {len(missing)} of {len(records)} slides are not there with these options, such "
            f"as {', '.join(missing[:5])}; run every --shard first"
        )


def _segment(
    record: SlideRecord,
    network: TileModel,
    rule: SlideRule,
    folder: Path,
    fingerprint: str,
    place: str,
    pace: EtaEstimator,
) -> float | None:
    """Make a slide's results in a folder beside, and move it into place; of a slide that fails the
    reason is kept.

    Returns the seconds that it took, None if it failed.
    """
    staging = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    clock = PhaseTimer()
    try:
        row, frame = _attempt(
            record, staging, network, rule, clock, slide_progress(place, record.name, pace)
        )
        if frame:
            write_json(staging / TIMINGS, timing_row(record.name, row["seen"], clock))
        write_json(
            staging / RECORD,
            {
                "fingerprint": fingerprint,
                "row": row,
                "frame": frame and asdict(frame),
                "files": sizes_in(staging),
            },
        )
        shutil.rmtree(folder, ignore_errors=True)
        staging.replace(folder)
        return clock.total() if frame else None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _attempt(
    record: SlideRecord,
    folder: Path,
    network: TileModel,
    rule: SlideRule,
    clock: PhaseTimer,
    bar: AbstractContextManager[Callable[[int], Tick]],
) -> tuple[Row, ResultFrame | None]:
    if record.status == FAILED:
        reason = record.reason
    else:
        try:
            with bar as progress:
                return segment_slide(record, folder, network, rule, clock, progress)
        except (EpsamError, MemoryError, ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                # Every further slide would fail of it, too.
                raise
            reason = reason_of(record, error)
    log.warning("failed: %s", reason)
    for path in folder.iterdir():
        path.unlink()
    return {"slide": record.name, "status": FAILED, "reason": reason}, None


def reason_of(record: SlideRecord, error: BaseException) -> str:
    """One line on why a slide failed."""
    told = " ".join(str(error).split())
    if isinstance(error, EpsamError):
        return told
    if isinstance(error, MemoryError):
        return f"{record.name}: too little memory for it ({told or 'none left'}); free some and run again"
    return f"{record.name}: {told or type(error).__name__}; check the slide and its folder of results, and run again"


def timing_row(name: str, windows: int, clock: PhaseTimer) -> Row:
    """Seconds of a slide in all and by part, and windows looked at a second."""
    total = clock.total()
    return {
        "slide": name,
        "seconds": round(total, 3),
        "windows_per_second": round(windows / max(total, 1e-9), 3),
        **{part: round(seconds, 3) for part, seconds in clock.seconds.items()},
    }
