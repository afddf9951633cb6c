"""Finished work is replaced on request alone: with --replace, or after a yes at the terminal.

Work is finished once its stage has left a completion record. What the user has agreed to lose is
marked in its record as outdated, so that a run that was interrupted meanwhile goes on without
another question.
"""

import logging
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epsam.config.common import RunFolderOptions
from epsam.core.artifact import Record
from epsam.core.durations import format_duration
from epsam.core.errors import DatasetError, FinishedWorkError
from epsam.core.files import read_json, write_json
from epsam.paths import RunPaths
from epsam.pipeline import summary_stages
from epsam.stage_files import list_later_completions, list_outputs

log = logging.getLogger(__name__)

OUTDATED = "outdated"
"""Entry of the completion record of work that the user has agreed to lose: why."""


@dataclass(frozen=True)
class FinishedWork:
    """A finished stage or round that a run would replace; reason: what has changed."""

    completion: str
    reason: str

    def describe(self, record: Path) -> str:
        """As in "decoder_0 (lr 0.0002 → 0.001; took 34 s)", with seconds from the run's record."""
        seconds = read_seconds(record, self.completion)
        took = f"; took {format_duration(seconds)}" if seconds else ""
        return f"{self.completion} ({self.reason}{took})"


def read_seconds(record: Path, stage: str) -> float:
    """How long a stage took, from the record of a run or dataset; 0 if that does not say."""
    try:
        entry = read_json(record)[stage]
        # The fit alone is longer than the last session if it was interrupted before.
        return max(float(entry["seconds"]), float(entry.get("fit_seconds", 0)))
    except (OSError, DatasetError, LookupError, TypeError, ValueError, AttributeError):
        return 0.0


def refuse_to_replace(options: RunFolderOptions, works: Sequence[FinishedWork]) -> None:
    """Raise FinishedWorkError if there is any finished work that a run would replace."""
    if not works:
        return
    run = RunPaths.of(options)
    first = works[0].describe(run.record)
    others = f" and what follows ({len(works) - 1} more)" if len(works) > 1 else ""
    name = suggest_run_name(options)
    raise FinishedWorkError(
        f"{run.root}: this would replace finished work, {first}{others}",
        f"give it a name of its own, such as RUN={name} (--run {name}), or replace the old work by "
        "REPLACE=1 (--replace)",
    )


def suggest_run_name(options: RunFolderOptions) -> str:
    """The run's name with the first number that no run has yet: demo-2."""
    name = options.run or options.dataset_type
    number = 2
    while (Path(options.checkpoint_root) / f"{name}-{number}").exists():
        number += 1
    return f"{name}-{number}"


def finished_work(run: RunPaths, completions: Iterable[str], reason: str) -> list[FinishedWork]:
    """Those of the completion records that are there and not marked as outdated."""
    works = []
    for completion in completions:
        record = _read_completion(run, completion)
        if record and not record.get(OUTDATED):
            works.append(FinishedWork(completion, reason))
    return works


def is_replaceable(run: RunPaths, completion: str) -> bool:
    """Whether a stage is not finished, or marked as outdated."""
    return not finished_work(run, [completion], "")


def mark_outdated(run: RunPaths, completions: Iterable[str], reason: str) -> None:
    """Mark finished work as outdated: it stays until its stage replaces it without a question."""
    for completion in completions:
        record = _read_completion(run, completion)
        if record and not record.get(OUTDATED):
            write_json(_completion_path(run, completion), {**record, OUTDATED: reason})


def unmark_outdated(run: RunPaths, completion: str) -> None:
    """Remove the mark from work that has turned out to be current after all."""
    record = _read_completion(run, completion)
    if record and record.pop(OUTDATED, None):
        write_json(_completion_path(run, completion), record)


def mark_later_outdated(run: RunPaths, completion: str) -> None:
    """Mark all that was finished after a stage and builds on it."""
    mark_outdated(
        run, list_later_completions(run.root, completion), f"{completion} has been replaced"
    )


def delete_summaries(run: RunPaths) -> None:
    """Delete scores, panels, curves and report: they are of weights that are about to change."""
    for stage in summary_stages():
        for path in list_outputs(run.root, stage.completion):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        _completion_path(run, stage.completion).unlink(missing_ok=True)


def _read_completion(run: RunPaths, completion: str) -> Record:
    """The completion record; empty if there is none or it is damaged."""
    try:
        record: dict[str, Any] = read_json(_completion_path(run, completion))
    except (OSError, DatasetError):
        return {}
    return record if "fingerprint" in record else {}


def _completion_path(run: RunPaths, completion: str) -> Path:
    return run.root / "stages" / f"{completion}.json"
