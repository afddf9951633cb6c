"""One stage of a run: is its output current, what did it measure, and when is it complete?

A stage that is complete leaves a completion record, `stages/<name>.json`: the fingerprint of its
options and inputs, the checksums of its output files, and why nothing should build on them, if so.
"""

import json
import logging
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from epsam.config.common import StageOptions
from epsam.config.flags import result_options, stored_options
from epsam.core.errors import DatasetError, TrainingError
from epsam.core.files import digest_of, read_json, read_table, sha256_of, write_json, write_table
from epsam.core.records import add_to_record, peak_memory
from epsam.paths import RunPaths
from epsam.tables import METRIC_COLUMNS

log = logging.getLogger(__name__)


class Stage:
    """One stage of one run, identified by a fingerprint of its options and of the files it reads.

    A stage's main asks `is_current()`, calls `begin()` if it is not, does its work, and calls
    `finish()`.
    """

    def __init__(self, name: str, options: StageOptions, inputs: Mapping[str, str]) -> None:
        """`inputs`: name → digest of everything the stage reads (see `digest_of_files`)."""
        self.name = name
        self.run = RunPaths.of(options)
        self._restart = options.restart
        self._options = stored_options(options)
        self._inputs = dict(inputs)
        self._fingerprint = digest_of(
            [json.dumps(result_options(options), sort_keys=True), *inputs.values()]
        )
        self._completion_record = self.run.root / "stages" / f"{name}.json"
        self._progress_folder = self.run.root / "unfinished" / name
        self._started = time.monotonic()
        self._fit_seconds = 0.0

    def is_current(self) -> bool:
        """True if the stage is complete with these options and inputs and its files are unchanged.

        The log says why it is done again, or that it is not. Changes nothing on disk.
        """
        completion = _read_completion_record(self._completion_record)
        if self._restart or not completion:
            return False

        if completion["fingerprint"] != self._fingerprint:
            log.info("%s: options or inputs have changed; it is done again", self.name)
            return False

        if changed := self._first_changed_output(completion.get("outputs", {})):
            log.warning(
                "%s: %s is missing or is not as it was made; the stage is done again",
                self.name,
                changed,
            )
            return False

        log.info(
            "%s: done already with these options and inputs; --restart begins again", self.name
        )
        return True

    def begin(self) -> None:
        """Remove the completion record, and with --restart the progress of unfinished fits, too."""
        # The outputs are about to be replaced, perhaps not to the end: a stage that is interrupted
        # must not be taken for the complete one before it.
        self._completion_record.unlink(missing_ok=True)
        if self._restart:
            shutil.rmtree(self._progress_folder, ignore_errors=True)

    def progress_path(self, task: str) -> Path:
        """Where an unfinished fit of this stage saves its state.

        Other options or inputs have another file, so that no fit resumes from a different one.
        """
        return self._progress_folder / f"{task}-{self._fingerprint[:12]}.pth"

    def record(self, task: str, history: Iterable[tuple[int, str, float]]) -> None:
        """Write a task's metrics (epoch, name, value) to metrics.csv; they replace earlier ones of
        that task.
        """
        history = list(history)
        rows: list[dict[str, Any]] = []
        if self.run.metrics.is_file():
            for row in read_table(self.run.metrics, METRIC_COLUMNS):
                if row["stage"] != task:
                    rows.append(row)

        for epoch, name, value in history:
            rows.append({"stage": task, "epoch": epoch, "name": name, "value": value})
            # Summed from the history, since a resumed fit also took the time before it was stopped.
            if name == "seconds":
                self._fit_seconds += value
        write_table(self.run.metrics, METRIC_COLUMNS, rows)

    def finish(self, outputs: Iterable[Path], degenerate_output: str = "") -> None:
        """Record the options and write the completion record; progress files are removed.

        outputs: all files under the run's folder that the stage wrote.
        degenerate_output: why no stage should build on them; "" if they are fine.
        """
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
                "WARNING: %s: %s; the next stage will refuse to go on from this",
                self.name,
                degenerate_output,
            )

        checksums = {}
        for path in outputs:
            checksums[path.relative_to(self.run.root).as_posix()] = sha256_of(path)
        # Last of all: whatever stops the stage before this line leaves it incomplete.
        write_json(
            self._completion_record,
            {
                "fingerprint": self._fingerprint,
                "trouble": degenerate_output,
                "outputs": checksums,
            },
        )
        shutil.rmtree(self._progress_folder, ignore_errors=True)

    def _first_changed_output(self, checksums: Mapping[str, str]) -> str:
        """The first output that is missing or differs from its checksum; "" if none does."""
        for name, checksum in checksums.items():
            path = self.run.root / name
            if not path.is_file() or sha256_of(path) != checksum:
                return name
        return ""


def check_predecessor(stage: str, earlier: str, options: StageOptions) -> None:
    """Raise TrainingError if the earlier stage's output is degenerate, unless allowed by
    --allow_degenerate.
    """
    run = RunPaths.of(options)
    degenerate_output = find_degenerate_outputs(run).get(earlier, "")
    if degenerate_output and not options.allow_degenerate:
        raise TrainingError(
            f"{stage}: nothing to go on with, in {earlier} {degenerate_output}; look at "
            f"{run.panels} and mend that stage, or go on with --allow_degenerate"
        )


def find_degenerate_outputs(run: RunPaths) -> dict[str, str]:
    """Stage → why no stage should build on its output, for the stages of a run with a degenerate
    output.
    """
    reasons = {}
    for path in sorted((run.root / "stages").glob("*.json")):
        completion = _read_completion_record(path)
        if completion and completion.get("trouble"):
            reasons[path.stem] = completion["trouble"]
    return reasons


def _read_completion_record(path: Path) -> dict[str, Any] | None:
    """The content of a completion record; None if it is absent or damaged, so that the stage is
    done again.
    """
    try:
        completion = read_json(path) if path.is_file() else {}
    except DatasetError:
        return None
    return completion if "fingerprint" in completion else None


def _format_peak_memory() -> str:
    """As in "peak gpu 3.21 GiB, peak ram 1.05 GiB"."""
    parts = []
    for name, gib in peak_memory().items():
        parts.append(f"{name.removesuffix('_gib').replace('_', ' ')} {gib:.2f} GiB")
    return ", ".join(parts)
