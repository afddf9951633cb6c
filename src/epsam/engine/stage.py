"""One stage of a run: is its output current, what did it measure, and when is it complete?

A stage that is complete leaves a completion record, `stages/<name>.json`: its options and inputs
with their fingerprint, the checksums of its output files, and why nothing should build on them, if
so.
"""

import logging
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from epsam.config.common import RunFolderOptions, StageOptions
from epsam.config.evaluation import EvaluateOptions
from epsam.config.flags import stored_options
from epsam.config.keys import result_key
from epsam.config.report import ReportOptions
from epsam.core.artifact import NOT_DONE, Artifact, Key, Record
from epsam.core.distributed import current_world, is_main_process, wait_for_all
from epsam.core.errors import DatasetError, TrainingError
from epsam.core.files import read_json, read_table, write_json, write_table
from epsam.core.records import add_to_record, peak_memory
from epsam.engine.replacement import (
    delete_summaries,
    finished_work,
    mark_later_outdated,
    refuse_to_replace,
    unmark_outdated,
)
from epsam.engine.run_leaves import remember_leaves
from epsam.paths import RunPaths
from epsam.pipeline import summary_stages
from epsam.stage_files import list_later_completions
from epsam.tables import METRIC_COLUMNS

log = logging.getLogger(__name__)

SUMMARIES = tuple(stage.completion for stage in summary_stages())


class Stage:
    """One stage of one run, identified by a fingerprint of its options and of the files it reads.

    A stage's main asks `is_current()`, calls `begin()` if it is not, does its work, and calls
    `finish()`.
    """

    def __init__(
        self,
        name: str,
        options: StageOptions | EvaluateOptions | ReportOptions,
        inputs: Mapping[str, str],
    ) -> None:
        """`inputs`: name → digest of everything the stage reads (see `digest_of_files`)."""
        self.name = name
        self.run = RunPaths.of(options)
        self._restart = options.restart
        self._replace = options.replace
        self._is_summary = name in SUMMARIES
        self._place: RunFolderOptions = options
        self._options = stored_options(options)
        self._inputs = dict(inputs)
        self._artifact = Artifact(
            self.run.root,
            result_key(options, inputs),
            record=self.run.root / "stages" / f"{name}.json",
            read=self._read_record,
        )
        self._progress_folder = self.run.root / "unfinished" / name
        self._started = time.monotonic()
        self._fit_seconds = 0.0

    def why_stale(self) -> str:
        """Why the stage has to be done again, by names of options, inputs and files; "" if it is
        complete with these options and inputs and its files are unchanged. Changes nothing on disk.
        """
        return "--restart" if self._restart else self._artifact.why_stale()

    def is_current(self) -> bool:
        """True if the stage has nothing to do; the log says so, or why it is done again."""
        reason = self.why_stale()
        if not reason:
            log.info(
                "%s: done already with these options and inputs; --restart begins again", self.name
            )
        elif reason != NOT_DONE and not self._restart:
            log.info("%s: done again: %s", self.name, reason)
        if not reason and is_main_process():
            unmark_outdated(self.run, self.name)
        return not reason

    def why_replaced(self) -> str:
        """Which options or inputs have changed since the stage was finished; "" if it was not, or
        if only its files are damaged: then the same result is computed again.
        """
        record = self._artifact.read()
        return self._artifact.key.why_stale(record) if record else ""

    def recorded_inputs(self) -> dict[str, str]:
        """The inputs that the stage was finished with; empty if that is unknown."""
        record = self._artifact.read() or {}
        return dict(record.get("inputs") or {})

    def require_replaceable(self) -> None:
        """Raise FinishedWorkError if the stage was finished with other options or inputs, and
        neither --replace, --restart nor a mark says that this may be lost.
        """
        reason = self.why_replaced()
        # Scores and report are of whatever the training has left, and follow it.
        if reason and not (self._replace or self._restart or self._is_summary):
            work = finished_work(self.run, [self.name], reason)
            later = list_later_completions(self.run.root, self.name) if work else []
            refuse_to_replace(self._place, work + finished_work(self.run, later, ""))

    def outdates_later_stages(self) -> bool:
        """Whether the stage is about to replace what it finished, with all that follows from it."""
        # --restart alone is for this stage alone.
        may_replace = self._replace or not self._restart
        return may_replace and not self._is_summary and bool(self.why_replaced())

    def begin(self) -> None:
        """Remove the completion record, and with --restart the progress of unfinished fits, too.

        What later stages have finished is marked as outdated if this one is replaced, and scores
        and report are deleted. Raises FinishedWorkError as `require_replaceable` does.
        """
        self.require_replaceable()
        leaves = self._options.get("leaves", 0)
        if current_world().size > 1 and not leaves and "leaves" in self._options:
            raise TrainingError(
                f"{self.name}: it was finished by one process, without leaves; do it again by one "
                "process (GPUS=1), or give --leaves 8 and --replace"
            )
        # Whether there is something to do has been asked by all before anything changes.
        wait_for_all()
        if is_main_process():
            self._replace_earlier(leaves)
        wait_for_all()

    def _replace_earlier(self, leaves: int) -> None:
        if self.why_replaced() and not self._is_summary:
            delete_summaries(self.run)
        if self.outdates_later_stages():
            mark_later_outdated(self.run, self.name)
        # The outputs are about to be replaced, perhaps not to the end: a stage that is interrupted
        # must not be taken for the complete one before it.
        self._artifact.invalidate()
        if self._restart:
            shutil.rmtree(self._progress_folder, ignore_errors=True)
        remember_leaves(self.run, self.name, leaves)

    def progress_path(self, task: str) -> Path:
        """Where an unfinished fit of this stage saves its state.

        Other options or inputs have another file, so that no fit resumes from a different one.
        """
        return self._progress_folder / f"{task}-{self._artifact.key.digest[:12]}.pth"

    def record(self, task: str, history: Iterable[tuple[int, str, float]]) -> None:
        """Write a task's metrics (epoch, name, value) to metrics.csv, in the place of earlier ones
        of that task, else at the end. The main process writes.
        """
        if not is_main_process():
            return
        before: list[dict[str, Any]] = []
        after: list[dict[str, Any]] = []
        has_earlier_rows = False
        for row in (
            read_table(self.run.metrics, METRIC_COLUMNS) if self.run.metrics.is_file() else []
        ):
            if row["stage"] == task:
                has_earlier_rows = True
            elif has_earlier_rows:
                after.append(row)
            else:
                before.append(row)

        rows: list[dict[str, Any]] = []
        for epoch, name, value in history:
            rows.append({"stage": task, "epoch": epoch, "name": name, "value": value})
            # Summed from the history, since a resumed fit also took the time before it was stopped.
            if name == "seconds":
                self._fit_seconds += value
        write_table(self.run.metrics, METRIC_COLUMNS, [*before, *rows, *after])

    def finish(self, outputs: Iterable[Path], degenerate_output: str = "") -> None:
        """Record the options and write the completion record; progress files are removed.

        outputs: all files under the run's folder that the stage wrote.
        degenerate_output: why no stage should build on them; "" if they are fine. The main process
        writes, and all others wait for it.
        """
        if is_main_process():
            self._complete(outputs, degenerate_output)
        wait_for_all()

    def _complete(self, outputs: Iterable[Path], degenerate_output: str) -> None:
        self.run.root.mkdir(parents=True, exist_ok=True)
        options = read_json(self.run.options) if self.run.options.is_file() else {}
        write_json(self.run.options, {**options, self.name: self._options})

        seconds = time.monotonic() - self._started
        add_to_record(
            self.run.record, self.name, self._options, seconds, self._inputs, self._fit_seconds
        )
        log.info("%s: done in %.0f s; %s", self.name, seconds, _format_peak_memory())
        if degenerate_output:
            log.warning(
                "WARNING: %s: %s; the next stage goes on from this with --allow_degenerate alone",
                self.name,
                degenerate_output,
            )

        # Last of all: whatever stops the stage before this line leaves it incomplete.
        self._artifact.complete(outputs, {"trouble": degenerate_output})
        shutil.rmtree(self._progress_folder, ignore_errors=True)

    def _read_record(self, path: Path) -> Record:
        """The completion record; one of an earlier version gets the names that it lacks."""
        record = read_completion_record(path)
        if "options" not in record:
            record |= self._read_names(record["fingerprint"])
        return record

    def _read_names(self, fingerprint: str) -> Record:
        """Options and inputs from the run's record, where they are those of the fingerprint."""
        try:
            entry = read_json(self.run.record)[self.name]
            # Also the options of then that do not exist any more.
            ignored = self._options.keys() - self._artifact.key.options.keys()
            options = {k: v for k, v in entry["options"].items() if k not in ignored}
            key = Key(options, entry["inputs"])
        except (OSError, DatasetError, LookupError, TypeError, AttributeError):
            return {}
        # The run's record may be of another time than the completion record.
        return key.record() if key.digest == fingerprint else {}


def read_completion_record(path: Path) -> Record:
    """The content of a stage's completion record. Raises DatasetError if it is damaged."""
    record = read_json(path)
    if "fingerprint" not in record:
        raise DatasetError(f"{path}: no completion record; remove it or write it again")
    return record


def check_predecessor(stage: str, earlier: str, options: StageOptions) -> None:
    """Raise TrainingError if the earlier stage's output is degenerate, unless allowed by
    --allow_degenerate.
    """
    run = RunPaths.of(options)
    degenerate_output = find_degenerate_outputs(run).get(earlier, "")
    if degenerate_output and not options.allow_degenerate:
        # The classifier draws no panels, so that the folder may not be there yet.
        place = f"look at {run.panels} and " if run.panels.is_dir() else ""
        raise TrainingError(
            f"{stage}: nothing to go on with, in {earlier} {degenerate_output}; {place}mend that "
            "stage, or go on with --allow_degenerate"
        )


def find_degenerate_outputs(run: RunPaths) -> dict[str, str]:
    """Stage → why no stage should build on its output, for the stages of a run with a degenerate
    output.
    """
    reasons = {}
    for path in sorted((run.root / "stages").glob("*.json")):
        try:
            record = read_completion_record(path)
        except DatasetError:
            # A damaged record means that the stage is done again.
            continue
        if record.get("trouble"):
            reasons[path.stem] = record["trouble"]
    return reasons


def _format_peak_memory() -> str:
    """As in "peak gpu 3.21 GiB, peak ram 1.05 GiB"."""
    parts = []
    for name, gib in peak_memory().items():
        parts.append(f"{name.removesuffix('_gib').replace('_', ' ')} {gib:.2f} GiB")
    return ", ".join(parts)
