"""Deletion of later rounds, when an earlier round that they build on is done again or a run has
fewer rounds than before.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from epsam.core.files import read_json, read_table, write_json, write_table
from epsam.paths import RunPaths
from epsam.tables import METRIC_COLUMNS, PSEUDO_LABEL_COLUMNS

_FILES_OF_ROUNDS = (
    "stages/decoder_*.json",
    "decoder_iter*.pth",
    "masks/iter_*",
    "panels/decoder_*.png",
    "tensorboard/decoder_*",
    "unfinished/decoder_*",
)


def delete_rounds_after(run: RunPaths, number: int) -> None:
    """Delete everything of the rounds after `number`: completion records, decoders, masks, panels,
    and their rows in tables.

    Raises DatasetError if one of the run's tables is damaged.
    """
    for pattern in _FILES_OF_ROUNDS:
        for path in run.root.glob(pattern):
            if _parse_round(path.stem, "decoder_|decoder_iter|iter_") > number:
                _delete(path)

    _drop_rows(run.metrics, METRIC_COLUMNS, lambda row: _parse_round(row["stage"]) > number)
    _drop_rows(
        run.pseudo_labels,
        PSEUDO_LABEL_COLUMNS,
        lambda row: _parse_round(row["round"], "") > number,
    )
    for path in (run.options, run.record):
        _drop_stages(path, number)


def _parse_round(name: str, prefixes: str = "decoder_") -> int:
    """The number in a name that begins with one of the prefixes; -1 for any other name."""
    match = re.fullmatch(f"(?:{prefixes})([0-9]{{1,9}})", name)
    return int(match[1]) if match else -1


def _drop_rows(
    table: Path, columns: Sequence[str], is_dropped: Callable[[dict[str, str]], bool]
) -> None:
    rows = read_table(table, columns) if table.is_file() else []
    remaining = [row for row in rows if not is_dropped(row)]
    # An unchanged table is not written again.
    if len(remaining) < len(rows):
        write_table(table, columns, remaining)


def _drop_stages(path: Path, number: int) -> None:
    """Drop the entries of rounds after `number` from a JSON file of stages."""
    stages = read_json(path) if path.is_file() else {}
    remaining = {name: stages[name] for name in stages if _parse_round(name) <= number}
    if len(remaining) < len(stages):
        write_json(path, remaining)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
