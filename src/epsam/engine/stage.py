"""A stage of a run: is it done already, with these options and inputs? What did it measure?"""

import dataclasses
import json
import logging
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from epsam.config.common import StageOptions
from epsam.config.flags import result_options
from epsam.core.errors import DatasetError, TrainingError
from epsam.core.files import digest_of, read_json, read_table, sha256_of, write_json, write_table
from epsam.core.records import add_to_record, peak_memory
from epsam.paths import RunPaths
from epsam.tables import METRIC_COLUMNS

log = logging.getLogger(__name__)


class Stage:
    """One stage of one run, known by a fingerprint of its options and of the files it reads."""

    def __init__(self, name: str, options: StageOptions, inputs: Mapping[str, str]) -> None:
        """`inputs` are digests (see `files.contents`) of everything the stage reads."""
        self.name = name
        self.run = RunPaths.of(options)
        self._options = dataclasses.asdict(options)
        self._inputs = dict(inputs)
        self._fingerprint = digest_of(
            [json.dumps(result_options(options), sort_keys=True), *inputs.values()]
        )
        self._marker = self.run.root / "stages" / f"{name}.json"
        self._started = time.monotonic()
        self._fit_seconds = 0.0
        if options.restart:
            self._marker.unlink(missing_ok=True)
            shutil.rmtree(self._folder, ignore_errors=True)

    def finished(self) -> bool:
        """True, and a line in the log, if the stage was completed with the same options and inputs
        and all it made is there unchanged. Otherwise its mark goes: what is there is about to be
        replaced, perhaps not to the end.
        """
        mark = _read_mark(self._marker)
        if not mark:
            return False
        if mark["fingerprint"] != self._fingerprint:
            log.info("%s: options or inputs have changed; it is done again", self.name)
        elif changed := self._changed(mark.get("outputs", {})):
            log.warning(
                "%s: %s is missing or is not as it was made; the stage is done again",
                self.name,
                changed,
            )
        else:
            log.info(
                "%s: done already with these options and inputs; --restart begins again", self.name
            )
            return True
        self._marker.unlink()
        return False

    def unfinished(self, task: str) -> Path:
        """Where a fit of this stage keeps its progress; other options or inputs have another
        file.
        """
        return self._folder / f"{task}-{self._fingerprint[:12]}.pth"

    def finish(self, outputs: Iterable[Path], trouble: str = "") -> None:
        """Record the options and mark the stage as done; what only an unfinished stage needs is
        removed.

        outputs: all files under the run's folder that the stage made. trouble: why no stage should
        build on them.
        """
        self.run.root.mkdir(parents=True, exist_ok=True)
        kept = read_json(self.run.options) if self.run.options.is_file() else {}
        write_json(self.run.options, {**kept, self.name: self._options})
        seconds = time.monotonic() - self._started
        add_to_record(
            self.run.record, self.name, self._options, seconds, self._inputs, self._fit_seconds
        )
        held = [
            f"{name.removesuffix('_gib').replace('_', ' ')} {gib:.2f} GiB"
            for name, gib in peak_memory().items()
        ]
        log.info("%s: done in %.0f s; %s", self.name, seconds, ", ".join(held))
        if trouble:
            log.warning(
                "WARNING: %s: %s; the next stage will refuse to go on from this", self.name, trouble
            )
        sums = {path.relative_to(self.run.root).as_posix(): sha256_of(path) for path in outputs}
        write_json(
            self._marker, {"fingerprint": self._fingerprint, "trouble": trouble, "outputs": sums}
        )
        shutil.rmtree(self._folder, ignore_errors=True)

    def record(self, task: str, history: Iterable[tuple[int, str, float]]) -> None:
        """Put a task's figures (epoch, name, value) into metrics.csv, in the place of earlier ones
        of that task.
        """
        history = list(history)
        self._fit_seconds += sum(value for _, name, value in history if name == "seconds")
        rows: list[dict[str, Any]] = []
        if self.run.metrics.is_file():
            rows += [
                row for row in read_table(self.run.metrics, METRIC_COLUMNS) if row["stage"] != task
            ]
        rows += [
            {"stage": task, "epoch": epoch, "name": name, "value": value}
            for epoch, name, value in history
        ]
        write_table(self.run.metrics, METRIC_COLUMNS, rows)

    @property
    def _folder(self) -> Path:
        return self.run.root / "unfinished" / self.name

    def _changed(self, sums: Mapping[str, str]) -> str:
        """The first of the stage's files that is not as it was made; empty if there is none."""
        paths = {name: self.run.root / name for name in sums}
        return next(
            (
                name
                for name, path in paths.items()
                if not path.is_file() or sha256_of(path) != sums[name]
            ),
            "",
        )


def _read_mark(marker: Path) -> dict[str, Any] | None:
    """What a stage's mark says; None if there is none or it is damaged, so that the stage is done
    again.
    """
    try:
        mark = read_json(marker) if marker.is_file() else {}
    except DatasetError:
        return None
    return mark if "fingerprint" in mark else None


def check_predecessor(stage: str, earlier: str, options: StageOptions) -> None:
    """Raise TrainingError if the earlier stage left nothing to learn from, unless
    --allow_degenerate is given.
    """
    run = RunPaths.of(options)
    trouble = degenerate_outputs(run).get(earlier, "")
    if trouble and not options.allow_degenerate:
        raise TrainingError(
            f"{stage}: nothing to go on with, in {earlier} {trouble}; look at {run.panels} and mend "
            "that stage, or go on with --allow_degenerate"
        )


def degenerate_outputs(run: RunPaths) -> dict[str, str]:
    """Stage → why no stage should build on it, for the stages of a run that left nothing to learn
    from.
    """
    marks = {
        path.stem: _read_mark(path) or {} for path in sorted((run.root / "stages").glob("*.json"))
    }
    return {stage: mark["trouble"] for stage, mark in marks.items() if mark.get("trouble")}
