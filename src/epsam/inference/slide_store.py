"""The folders of results of slides: what is finished, and a staging folder for what is not.

`SlideStore` does the bookkeeping round the segmentation of a slide: claim, fingerprint, staging
folder, and the record that a slide is done.
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from epsam.core.artifact import NOT_DONE, Artifact, FileCheck, Key, Replacement
from epsam.core.claims import Claim, hold_claim
from epsam.core.distributed import current_world
from epsam.core.errors import BusyError, ClaimLostError, DatasetError
from epsam.core.files import file_size, quick_hash, read_json
from epsam.evaluation.slide_scores import ResultFrame
from epsam.extraction.discovery import FAILED, SlideRecord
from epsam.inference.progress import PhaseTimer
from epsam.inference.slide_timings import TIMING_FILE, write_timing

log = logging.getLogger(__name__)

RESULT_FILE = "slide.json"
"""The completion record of a slide; a folder without it holds no finished results."""
CLAIM_FOLDER = ".claims"

# Seconds differ from run to run.
_SIZES_OF_RESULTS = FileCheck("files", file_size, ignored=(TIMING_FILE,))

Row = dict[str, Any]


@dataclass(frozen=True)
class SlideResult:
    """The content of a slide's slide.json.

    row: the slide's row of slides.csv. frame: how the results lie on the slide; None if the slide
    failed.
    """

    row: Row
    frame: ResultFrame | None


@dataclass(frozen=True)
class StagedSlide:
    """A slide whose results are written to a staging folder, which replaces the old results at the
    end of `SlideStore.stage`.
    """

    name: str
    replacement: Replacement
    claim: Claim

    @property
    def folder(self) -> Path:
        """The staging folder."""
        return self.replacement.path

    def publish(self, row: Row, frame: ResultFrame, timer: PhaseTimer) -> None:
        """Complete the results by `row` and the seconds that they took."""
        write_timing(self.folder, self.name, row["seen"], timer)
        # The keys of slide.json are data: results of older versions are read by them.
        stored_frame = {"scale": frame.scale, "mpp": frame.mpp, "side_px0": frame.side_px0}
        self.replacement.content.update(row=row, frame=stored_frame)

    def fail(self, reason: str) -> None:
        """Drop what was written, and store the reason of the failure for slides.csv.

        Raises ClaimLostError if another process has taken the slide over.
        """
        self.claim.require_held()
        log.warning("failed: %s", reason)
        for path in self.folder.iterdir():
            path.unlink()
        row = {"slide": self.name, "status": FAILED, "reason": reason}
        self.replacement.content.update(row=row, frame=None)


class SlideStore:
    """`output`/<slide>/ for each slide.

    Results are current if they were computed with the same `key` (weights and options, see
    `inference_key`) from the same slide, and if no file was changed since.
    """

    def __init__(self, output: Path, key: Key) -> None:
        self.output = output
        self._key = key
        self._busy: list[SlideRecord] = []
        self._earlier_failures: dict[str, int] = {}

    def find_unfinished(self, records: Sequence[SlideRecord]) -> list[SlideRecord]:
        """The slides that have to be segmented.

        One that has failed is tried again. If it fails in another process from now on, it is not.
        """
        for record in records:
            self._earlier_failures[record.name] = self._result_time(record)
        return [record for record in records if not self.is_finished(record)]

    def pop_busy(self) -> list[SlideRecord]:
        """The slides that other processes worked on when this one came to them, since the last
        call.
        """
        busy, self._busy = self._busy, []
        return busy

    @contextmanager
    def stage(self, record: SlideRecord) -> Iterator[StagedSlide | None]:
        """A staging folder for a claimed slide, removed at the end of the block.

        None if there is nothing to do: the slide is finished, or another process works on it. If
        another one takes the slide over meanwhile, its results are the ones that count.
        """
        with ExitStack() as stack:
            try:
                folder = self.output / CLAIM_FOLDER / record.name
                claim = stack.enter_context(hold_claim(folder, self._remove_staging))
            except BusyError as error:
                # With several processes of one stage, this is what happens to most slides.
                level = logging.INFO if current_world().size == 1 else logging.DEBUG
                log.log(level, "%s: left to the other run: %s", record.name, error)
                self._busy.append(record)
                yield None
                return

            # Under the claim: another process may have finished the slide a moment ago.
            reason = self.why_stale(record)
            if not reason or self._has_failed_meanwhile(record):
                log.info("%s: finished before", record.name)
                yield None
                return
            if reason != NOT_DONE:
                log.warning("%s: done again: %s", self.output / record.name, reason)

            # A folder of its own: a process that has lost its claim may still write into its one.
            staging = self._staging_folder(claim.token)
            try:
                with self._artifact(record).replace(staging) as replacement:
                    yield StagedSlide(record.name, replacement, claim)
                    claim.require_held()
            except ClaimLostError as error:
                log.warning("%s", error)
                self._busy.append(record)

    def drop_unfinished(self, records: Sequence[SlideRecord]) -> list[SlideRecord]:
        """The records without the busy slides that another run still works on."""
        unfinished = [record for record in self.pop_busy() if not self.is_finished(record)]
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
        return not self.why_stale(record)

    def why_stale(self, record: SlideRecord) -> str:
        """Why the slide has to be segmented, by names of options, inputs and files; "" if its
        results are current.
        """
        result = self.read_result(record.name)
        if result is None:
            return NOT_DONE
        if result.row["status"] != "done":
            return "it failed before"
        return self._artifact(record).why_stale()

    def check_complete(self, records: Sequence[SlideRecord]) -> None:
        """Raise DatasetError unless each slide has a current result or reason of its failure."""
        missing = []
        # A failure counts, too: its reason belongs into the merged table.
        for record in records:
            result = self.read_result(record.name)
            if result is None or not self._artifact(record).is_current():
                missing.append(record.name)
        if missing:
            raise DatasetError(
                f"{self.output}: {len(missing)} of {len(records)} slides are not there with these "
                f"options, such as {', '.join(missing[:5])}; run every --shard first"
            )

    def read_result(self, name: str) -> SlideResult | None:
        """The stored result of a slide, current or not; None if there is none or it is damaged."""
        return read_slide_result(self.output, name)

    def _has_failed_meanwhile(self, record: SlideRecord) -> bool:
        """Whether another process has failed on the slide since `find_unfinished`."""
        before = self._earlier_failures.get(record.name)
        if before is None or self._result_time(record) == before:
            return False
        result = self.read_result(record.name)
        is_failed = result is not None and result.row["status"] == FAILED
        return is_failed and self._artifact(record).is_current()

    def _result_time(self, record: SlideRecord) -> int:
        """When the slide's record was written; 0 without one."""
        path = self.output / record.name / RESULT_FILE
        return path.stat().st_mtime_ns if path.is_file() else 0

    def _staging_folder(self, token: str) -> Path:
        return self.output / f".{token}.part"

    def _remove_staging(self, token: str) -> None:
        """Remove what a process whose claim is lost has written so far."""
        shutil.rmtree(self._staging_folder(token), ignore_errors=True)

    def _artifact(self, record: SlideRecord) -> Artifact:
        """The folder of a slide's results."""
        slide_hash = _hash_of_slide(record)
        inputs = {**self._key.inputs, "slide": slide_hash}
        # Up to version 0.1: the fingerprint of the run, and the slide's.
        older = tuple(f"{fingerprint}-{slide_hash}" for fingerprint in self._key.older)
        folder = self.output / record.name
        key = replace(self._key, inputs=inputs, older=older)
        return Artifact(folder, key, record=folder / RESULT_FILE, check=_SIZES_OF_RESULTS)


def _hash_of_slide(record: SlideRecord) -> str:
    """A quick hash of the slide's file; empty if there is none, or if it cannot be read: that is a
    failure of this slide alone, and its segmentation says why.
    """
    if record.path is None or not record.path.is_file():
        return ""
    try:
        return quick_hash(record.path)
    except OSError:
        return ""


def read_slide_result(output: Path, name: str) -> SlideResult | None:
    """The stored result of a slide in a folder; None if there is none or it is damaged."""
    path = output / name / RESULT_FILE
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        frame = content["frame"]
        # A row without a status is damaged, too.
        return SlideResult(
            {"slide": name, **content["row"], "status": content["row"]["status"]},
            ResultFrame(frame["scale"], frame["mpp"], frame["side_px0"]) if frame else None,
        )
    except (DatasetError, LookupError, TypeError, ValueError) as error:
        log.warning("%s: damaged (%r); the slide is done again", path, error)
        return None
