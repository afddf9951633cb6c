"""Many slides: finished ones are skipped, one that fails does not stop the others, results appear whole."""

import json
import logging
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from epsam.errors import DatasetError, EpsamError, SlideError
from epsam.files import write_json, write_table
from epsam.inference.clock import PARTS, Clock
from epsam.inference.inputs import RECORD
from epsam.inference.slide import SlideRule, segment_slide
from epsam.inference.stream import Network
from epsam.slides.inventory import FAILED, SlideRecord

log = logging.getLogger(__name__)

COLUMNS = ("slide", "status", "reason", "mpp", "width", "height", "windows", "seen", "gated", "probability",
           "tissue_mm2", "tumour_mm2", "tumour_share", "regions", "largest_diameter_mm")
TIMING_COLUMNS = ("slide", "seconds", "windows_per_second", *PARTS)
_TIMINGS = "timings.json"

Row = dict[str, Any]


@dataclass(frozen=True)
class Kept:
    """What is kept of a slide: its row of slides.csv, and the fingerprint of how and from what it was made."""

    row: Row
    fingerprint: str


def segment_slides(records: Sequence[SlideRecord], network: Network, rule: SlideRule, output: Path,
                   fingerprint: str) -> None:
    """Write `output`/<slide>/ for each slide that is not finished with the same fingerprint (see `fingerprint_of`)."""
    for number, record in enumerate(records, start=1):
        print_of_slide = slide_fingerprint(record, fingerprint)
        kept = read_kept(output, record.name)
        if kept and kept.fingerprint == print_of_slide and kept.row["status"] == "done":
            log.info("%s: finished before", record.name)
            continue
        _segment(record, network, rule, output / record.name, print_of_slide, f"{number}/{len(records)} {record.name}")


def slide_fingerprint(record: SlideRecord, fingerprint: str) -> str:
    """The run's fingerprint with the size of the slide's file."""
    size = record.path.stat().st_size if record.path and record.path.is_file() else 0
    return f"{fingerprint}-{size}"


def read_kept(output: Path, name: str) -> Kept | None:
    """What is kept of a slide; None if there is nothing."""
    path = output / name / RECORD
    if not path.is_file():
        return None
    content = json.loads(path.read_text("utf-8"))
    return Kept(content["row"], content["fingerprint"])


def check_complete(records: Sequence[SlideRecord], output: Path, fingerprint: str) -> None:
    """Raise DatasetError unless a result, or the reason of a failure, is kept of every slide with this fingerprint."""
    kept = {record.name: read_kept(output, record.name) for record in records}
    missing = [record.name for record in records if (had := kept[record.name]) is None
               or had.fingerprint != slide_fingerprint(record, fingerprint)]
    if missing:
        raise DatasetError(f"{output}: {len(missing)} of {len(records)} slides are not there with these options, such "
                           f"as {', '.join(missing[:5])}; run every --shard first")


def kept_rows(records: Sequence[SlideRecord], output: Path) -> tuple[list[Row], list[Row]]:
    """The rows of slides.csv and those of timings.csv that are kept of slides."""
    rows = [kept.row for kept in (read_kept(output, record.name) for record in records) if kept]
    paths = [output / row["slide"] / _TIMINGS for row in rows]
    return rows, [json.loads(path.read_text("utf-8")) for path in paths if path.is_file()]


def write_tables(rows: Sequence[Row], timings: Sequence[Row], output: Path) -> None:
    """slides.csv and timings.csv. Times have a table of their own, since they alone differ from run to run."""
    write_table(output / "slides.csv", COLUMNS, rows)
    write_table(output / "timings.csv", TIMING_COLUMNS, timings)


def _segment(record: SlideRecord, network: Network, rule: SlideRule, folder: Path, fingerprint: str,
             title: str) -> None:
    """Make a slide's results in a folder beside, and move it into place; of a slide that fails the reason is kept."""
    staging = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    clock = Clock()
    try:
        with ExitStack() as bars:
            def progress(windows: int) -> Any:
                return bars.enter_context(tqdm(total=windows, desc=title, unit="window", disable=None)).update

            row = _attempt(record, staging, network, rule, clock, progress)
        if row["status"] == "done":
            write_json(staging / _TIMINGS, timing_row(record.name, row["seen"], clock))
        write_json(staging / RECORD, {"fingerprint": fingerprint, "row": row})
        shutil.rmtree(folder, ignore_errors=True)
        staging.replace(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _attempt(record: SlideRecord, folder: Path, network: Network, rule: SlideRule, clock: Clock,
             progress: Any) -> Row:
    if record.status == FAILED:
        reason = record.reason
    else:
        try:
            return segment_slide(record, folder, network, rule, clock, progress)
        except EpsamError as error:
            reason = " ".join(str(error).split())
    log.warning("failed: %s", reason)
    for path in folder.iterdir():
        path.unlink()
    return {"slide": record.name, "status": FAILED, "reason": reason}


def timing_row(name: str, windows: int, clock: Clock) -> Row:
    """Seconds of a slide in all and by part, and windows looked at a second."""
    total = clock.total()
    return {"slide": name, "seconds": round(total, 3), "windows_per_second": round(windows / max(total, 1e-9), 3),
            **{part: round(seconds, 3) for part, seconds in clock.seconds.items()}}


def tell(rows: Sequence[Row], timings: Sequence[Row], output: Path) -> None:
    """Log what became of the slides, and where the time went."""
    done = [row for row in rows if row["status"] == "done"]
    seen, gated = (sum(int(row[name]) for row in done) for name in ("seen", "gated"))
    log.info("%d slides done, %d failed; %d windows with tissue, %d of them gated", len(done), len(rows) - len(done),
             seen, gated)
    log.info("%s", time_told(timings, seen))
    log.info("results are in %s", output)


def time_told(timings: Sequence[Row], windows: int) -> str:
    """Windows a second over all slides, and the share of time in each part."""
    total = sum(float(row["seconds"]) for row in timings)
    if not total:
        return "no slide was timed"
    shares = {part: sum(float(row[part]) for row in timings) / total for part in PARTS}
    told = ", ".join(f"{part} {100 * share:.0f} %" for part, share in shares.items())
    return f"{windows / total:.1f} windows a second: {told}"


def check_some_done(rows: Sequence[Row], output: Path) -> None:
    """Raise SlideError if every slide failed."""
    if rows and all(row["status"] == FAILED for row in rows):
        raise SlideError(f"none of {len(rows)} slides could be segmented, first {rows[0]['reason']}; "
                         f"{output / 'slides.csv'} says why for each")
