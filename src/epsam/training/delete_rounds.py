"""Later rounds grew out of what an earlier one is about to replace; nothing of them must be taken
for the run's.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from epsam.core.files import read_json, read_table, write_json, write_table
from epsam.paths import RunPaths
from epsam.tables import METRIC_COLUMNS, PSEUDO_LABEL_COLUMNS

_MADE_BY_ROUNDS = (
    "stages/decoder_*.json",
    "decoder_iter*.pth",
    "masks/iter_*",
    "panels/decoder_*.png",
    "tensorboard/decoder_*",
    "unfinished/decoder_*",
)


def delete_rounds_after(run: RunPaths, number: int) -> None:
    """Remove all that the rounds after `number` left: marks, decoders, masks, panels, and their
    entries in tables.

    Raises DatasetError if one of the run's tables is damaged.
    """
    for pattern in _MADE_BY_ROUNDS:
        for path in run.root.glob(pattern):
            if _round_of(path.stem, "decoder_|decoder_iter|iter_") > number:
                _remove(path)
    _drop_rows(run.metrics, METRIC_COLUMNS, lambda row: _round_of(row["stage"]) > number)
    _drop_rows(
        run.pseudo_labels, PSEUDO_LABEL_COLUMNS, lambda row: _round_of(row["round"], "") > number
    )
    for table in (run.options, run.record):
        kept = read_json(table) if table.is_file() else {}
        if later := {stage for stage in kept if _round_of(stage) > number}:
            write_json(table, {stage: entry for stage, entry in kept.items() if stage not in later})


def _round_of(name: str, prefixes: str = "decoder_") -> int:
    """The round in a name of one of these beginnings; -1 if it is no round's."""
    found = re.fullmatch(f"(?:{prefixes})([0-9]{{1,9}})", name)
    return int(found[1]) if found else -1


def _drop_rows(
    table: Path, columns: Sequence[str], dropped: Callable[[dict[str, str]], bool]
) -> None:
    rows = read_table(table, columns) if table.is_file() else []
    kept = [row for row in rows if not dropped(row)]
    if len(kept) < len(rows):
        write_table(table, columns, kept)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
