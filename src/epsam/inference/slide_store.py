"""The folders of results of slides: what is finished, and a staging folder for what is not.

`SlideStore` does the bookkeeping round the segmentation of a slide: lock, fingerprint, staging
folder, and the record that a slide is done.
"""

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epsam.core.errors import BusyError, DatasetError
from epsam.core.files import quick_hash, read_json, write_json
from epsam.core.locking import exclusive_lock
from epsam.evaluation.slide_scores import ResultFrame
from epsam.extraction.discovery import FAILED, SlideRecord
from epsam.inference.progress import PhaseTimer

log = logging.getLogger(__name__)

RESULT_FILE = "slide.json"
"""The completion record of a slide; a folder without it holds no finished results."""
TIMING_FILE = "timings.json"
LOCK_FOLDER = ".locks"

_TOTALS = ("seconds", "windows_per_second")
"""Columns of timings.csv beside the phases, which depend on the model."""

Row = dict[str, Any]


@dataclass(frozen=True)
class SlideResult:
    """The content of a slide's slide.json.

    row: the slide's row of slides.csv. fingerprint: of run and slide, see `SlideStore`. frame: how
    the results lie on the slide; None if the slide failed. sizes: bytes by name of result file.
    """

    row: Row
    fingerprint: str
    frame: ResultFrame | None
    sizes: dict[str, int]


@dataclass(frozen=True)
class StagedSlide:
    """A slide whose results are written to `folder`, until `publish` or `fail` moves them."""

    name: str
    folder: Path
    target: Path
    fingerprint: str

    def publish(self, row: Row, frame: ResultFrame, timer: PhaseTimer) -> None:
        """Move the results to their final folder, with `row` and the seconds that they took."""
        tiles = row["seen"]
        write_json(self.folder / TIMING_FILE, _timing_row(self.name, tiles, timer))
        # The keys of slide.json are data: results of older versions are read by them.
        stored_frame = {"scale": frame.scale, "mpp": frame.mpp, "side_px0": frame.side_px0}
        self._move(row, stored_frame)

    def fail(self, reason: str) -> None:
        """Drop what was written, and keep the reason of the failure for slides.csv."""
        log.warning("failed: %s", reason)
        for path in self.folder.iterdir():
            path.unlink()
        self._move({"slide": self.name, "status": FAILED, "reason": reason}, None)

    def _move(self, row: Row, stored_frame: dict[str, Any] | None) -> None:
        content = {
            "fingerprint": self.fingerprint,
            "row": row,
            "frame": stored_frame,
            "files": _file_sizes(self.folder),
        }
        write_json(self.folder / RESULT_FILE, content)
        # One rename, so that a kill leaves either the old results or the new ones.
        shutil.rmtree(self.target, ignore_errors=True)
        self.folder.replace(self.target)


class SlideStore:
    """`output`/<slide>/ for each slide.

    Results are current if they were made with the same `fingerprint` (weights and options, see
    `compute_fingerprint`) from the same slide, and if no file was changed since.
    """

    def __init__(self, output: Path, fingerprint: str) -> None:
        self.output = output
        self._fingerprint = fingerprint
        self._locked_by_others: list[SlideRecord] = []

    @contextmanager
    def stage(self, record: SlideRecord) -> Iterator[StagedSlide | None]:
        """A locked staging folder for a slide, removed at the end of the block.

        None if there is nothing to do: the slide is finished, or another run works on it.
        """
        with ExitStack() as stack:
            lock = exclusive_lock(
                self.output / LOCK_FOLDER / record.name,
                "give this one another OUTPUT_DIR or --output_dir",
            )
            try:
                stack.enter_context(lock)
            except BusyError as error:
                log.info("%s: left to the other run: %s", record.name, error)
                self._locked_by_others.append(record)
                yield None
                return

            # Asked under the lock: another run may have finished the slide a moment ago.
            if self.is_finished(record):
                log.info("%s: finished before", record.name)
                yield None
                return

            target = self.output / record.name
            staging = target.with_name(f".{target.name}.part")
            # What a run that was killed has left.
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
            try:
                yield StagedSlide(record.name, staging, target, self._slide_fingerprint(record))
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def drop_unfinished(self, records: Sequence[SlideRecord]) -> list[SlideRecord]:
        """The records without the slides that another run still works on."""
        unfinished = [record for record in self._locked_by_others if not self.is_finished(record)]
        if unfinished:
            log.warning(
                "%d slides are left to the other run, not in the tables: %s; "
                "once it has ended, --merge adds them",
                len(unfinished),
                ", ".join(record.name for record in unfinished),
            )
        return [record for record in records if record not in unfinished]

    def is_finished(self, record: SlideRecord) -> bool:
        """Whether the slide was segmented, and its results are current."""
        result = self.read_result(record.name)
        if result is None or result.row["status"] != "done":
            return False
        return self._is_current(record, result)

    def check_complete(self, records: Sequence[SlideRecord]) -> None:
        """Raise DatasetError unless each slide has a current result or reason of its failure."""
        missing = []
        # A failure counts, too: its reason belongs into the merged table.
        for record in records:
            result = self.read_result(record.name)
            if result is None or not self._is_current(record, result):
                missing.append(record.name)
        if missing:
            raise DatasetError(
                f"{self.output}: {len(missing)} of {len(records)} slides are not there with these "
                f"options, such as {', '.join(missing[:5])}; run every --shard first"
            )

    def read_result(self, name: str) -> SlideResult | None:
        """The stored result of a slide, current or not; None if there is none or it is damaged."""
        path = self.output / name / RESULT_FILE
        if not path.is_file():
            return None
        try:
            content = read_json(path)
            frame = content["frame"]
            # A row without a status is damaged, too.
            return SlideResult(
                {"slide": name, **content["row"], "status": content["row"]["status"]},
                content["fingerprint"],
                ResultFrame(frame["scale"], frame["mpp"], frame["side_px0"]) if frame else None,
                dict(content.get("files", {})),
            )
        except (DatasetError, LookupError, TypeError, ValueError) as error:
            log.warning("%s: damaged (%r); the slide is done again", path, error)
            return None

    def read_timing(self, name: str) -> Row | None:
        """The row of timings.csv of a slide; None if there is none or it is damaged."""
        path = self.output / name / TIMING_FILE
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
            log.warning(
                "%s: damaged (%r); the slide is done, and left out of timings.csv", path, error
            )
            return None
        return {"slide": name, **seconds}

    def _is_current(self, record: SlideRecord, result: SlideResult) -> bool:
        if result.fingerprint != self._slide_fingerprint(record):
            return False
        folder = self.output / record.name
        sizes = _file_sizes(folder)
        changed = [name for name, size in result.sizes.items() if sizes.get(name) != size]
        if changed:
            names = ", ".join(changed)
            log.warning("%s: %s cut, changed or missing; the slide is done again", folder, names)
        return not changed

    def _slide_fingerprint(self, record: SlideRecord) -> str:
        slide_hash = quick_hash(record.path) if record.path and record.path.is_file() else ""
        return f"{self._fingerprint}-{slide_hash}"


def timing_columns(timings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns of timings.csv for these rows: the phases are those of their models."""
    columns = dict.fromkeys(("slide", *_TOTALS))
    for row in timings:
        columns.update(dict.fromkeys(row))
    return list(columns)


def list_timed_phases(timings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The phases among the columns of timings.csv."""
    return timing_columns(timings)[1 + len(_TOTALS) :]


def _file_sizes(folder: Path) -> dict[str, int]:
    """Bytes of each result by name; seconds differ from run to run and are left out."""
    sizes = {}
    for path in sorted(folder.iterdir()):
        if path.name not in (RESULT_FILE, TIMING_FILE):
            sizes[path.name] = path.stat().st_size
    return sizes


def _timing_row(name: str, tiles: int, timer: PhaseTimer) -> Row:
    seconds = timer.total()
    row: Row = {
        "slide": name,
        "seconds": round(seconds, 3),
        "windows_per_second": round(tiles / max(seconds, 1e-9), 3),
    }
    for phase, phase_seconds in timer.seconds.items():
        row[phase] = round(phase_seconds, 3)
    return row
