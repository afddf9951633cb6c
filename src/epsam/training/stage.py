"""A stage of a run: is it done already, with these options and inputs? What did it measure?"""

import dataclasses
import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from epsam.files import read_table, write_json, write_table
from epsam.options import StageOptions
from epsam.paths import RunPaths

log = logging.getLogger(__name__)

# Options that say where or how conveniently a stage runs, not what it computes.
_IMMATERIAL = frozenset({"run", "device", "precision", "dataset_root", "checkpoint_root", "restart", "debug", "workers",
                         "train_dataset_dir", "val_dataset_dir", "test_dataset_dir", "embedding_cache", "n_iter"})
METRIC_COLUMNS = ("stage", "epoch", "name", "value")


class Stage:
    """One stage of one run, known by a fingerprint of its options and of the files it reads."""

    def __init__(self, name: str, options: StageOptions, inputs: Sequence[str]) -> None:
        """`inputs` are digests (see `names_and_sizes`, `contents`) of everything the stage reads."""
        self.name = name
        self.run = RunPaths.of(options)
        self._options = dataclasses.asdict(options)
        self._fingerprint = _fingerprint(self._options, inputs)
        self._marker = self.run.root / "stages" / f"{name}.json"
        if options.restart:
            self._marker.unlink(missing_ok=True)
            shutil.rmtree(self._folder, ignore_errors=True)

    def finished(self) -> bool:
        """True, and a line in the log, if the stage was completed with the same options and inputs."""
        if not self._marker.is_file():
            return False
        same = str(json.loads(self._marker.read_text("utf-8"))["fingerprint"]) == self._fingerprint
        log.info("%s: %s", self.name, "done already with these options and inputs; --restart begins again" if same
                 else "options or inputs have changed; it is done again")
        return same

    def unfinished(self, task: str) -> Path:
        """Where a fit of this stage keeps its progress; other options or inputs have another file."""
        return self._folder / f"{task}-{self._fingerprint[:12]}.pth"

    def finish(self) -> None:
        """Record the options and mark the stage as done; what only an unfinished stage needs is removed."""
        self.run.root.mkdir(parents=True, exist_ok=True)
        kept = json.loads(self.run.options.read_text("utf-8")) if self.run.options.is_file() else {}
        write_json(self.run.options, {**kept, self.name: self._options})
        write_json(self._marker, {"fingerprint": self._fingerprint})
        shutil.rmtree(self._folder, ignore_errors=True)

    def record(self, task: str, history: Iterable[tuple[int, str, float]]) -> None:
        """Put a task's figures (epoch, name, value) into metrics.csv, in the place of earlier ones of that task."""
        rows: list[dict[str, Any]] = []
        if self.run.metrics.is_file():
            rows += [row for row in read_table(self.run.metrics, METRIC_COLUMNS) if row["stage"] != task]
        rows += [{"stage": task, "epoch": epoch, "name": name, "value": value} for epoch, name, value in history]
        write_table(self.run.metrics, METRIC_COLUMNS, rows)

    @property
    def _folder(self) -> Path:
        return self.run.root / "unfinished" / self.name


def names_and_sizes(files: Iterable[Path]) -> str:
    """A digest of many large files: their names and sizes, not every byte."""
    return _digest(f"{path.name}:{path.stat().st_size}" for path in files)


def contents(files: Iterable[Path]) -> str:
    """A digest of a few small files by name and content."""
    return _digest(f"{path.name}:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files)


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


def _fingerprint(options: dict[str, Any], inputs: Sequence[str]) -> str:
    material = {name: value for name, value in options.items() if name not in _IMMATERIAL}
    return _digest([json.dumps(material, sort_keys=True), *inputs])
