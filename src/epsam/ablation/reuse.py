"""What a run reuses of a source run whose options were the same up to that stage: by links, nothing
is copied.

A stage still checks by its completion record whether the files in its run's folder are its own work
with its options and inputs; every stage replaces files instead of writing into them, so that a link
is never written through.
"""

import os
import shutil
from pathlib import Path

from epsam.core.files import read_json, read_table, write_json, write_table
from epsam.core.records import copy_stage_record
from epsam.paths import RunPaths
from epsam.stage_files import list_outputs, round_of_completion
from epsam.tables import METRIC_COLUMNS, PSEUDO_LABEL_COLUMNS

CLASSIFIER, MASKS = "train_classifier", "generate_initial_masks"
_TASKS = {CLASSIFIER: "classifier", "train_segmenter": "segmenter"}
"""Completion record → the task under whose name the metrics stand, where it has another name."""


def read_fingerprint(run: RunPaths, stage: str) -> str:
    """The fingerprint with which a run completed a stage; empty if it did not."""
    path = _completion_record(run, stage)
    return str(read_json(path).get("fingerprint", "")) if path.is_file() else ""


def reuse_stage(source: RunPaths, target: RunPaths, stage: str) -> None:
    """Give `target` all that a completed stage of `source` wrote, unless it has just that."""
    fingerprint = read_fingerprint(source, stage)
    if not fingerprint or read_fingerprint(target, stage) == fingerprint:
        return

    for path in list_outputs(target.root, stage):
        _remove(path)
    for path in list_outputs(source.root, stage):
        link_files(path, target.root / path.relative_to(source.root))
    _reuse_table_rows(source, target, stage)

    options = read_json(target.options) if target.options.is_file() else {}
    write_json(target.options, {**options, stage: read_json(source.options)[stage]})
    copy_stage_record(source.record, target.record, stage)
    # The completion record comes last: after an interruption, the stage counts as not done.
    write_json(_completion_record(target, stage), read_json(_completion_record(source, stage)))


def reuse_cams(source: RunPaths, target: RunPaths) -> None:
    """Give `target` the CAMs alone; the stage sees by their recipe whether they are what it
    needs.
    """
    link_files(source.root / "activation", target.root / "activation")


def link_files(source: Path, target: Path) -> None:
    """Make `target` another name of a file, or of every file in a folder; copy where the file
    system has no links.
    """
    if source.is_dir():
        _remove(target)
        for path in source.rglob("*"):
            if path.is_file():
                link_files(path, target / path.relative_to(source))
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        # A new name, not a new content: `target` may itself be a link to another run's file.
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)


def _completion_record(run: RunPaths, stage: str) -> Path:
    return run.root / "stages" / f"{stage}.json"


def _reuse_table_rows(source: RunPaths, target: RunPaths, stage: str) -> None:
    """Replace the target's rows of a stage in metrics.csv and pseudo_labels.csv by the source's."""
    task = _TASKS.get(stage, stage)
    _replace_rows(source.metrics, target.metrics, METRIC_COLUMNS, "stage", task)
    number = round_of_completion(stage)
    if number is not None:
        _replace_rows(
            source.pseudo_labels, target.pseudo_labels, PSEUDO_LABEL_COLUMNS, "round", str(number)
        )


def _replace_rows(
    source: Path, target: Path, columns: tuple[str, ...], column: str, value: str
) -> None:
    """Replace the rows of `target` that have `value` in `column` by those of `source`."""
    source_rows = read_table(source, columns) if source.is_file() else []
    reused = [row for row in source_rows if row[column] == value]
    if not reused:
        return

    target_rows = read_table(target, columns) if target.is_file() else []
    remaining = [row for row in target_rows if row[column] != value]
    write_table(target, columns, remaining + reused)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
