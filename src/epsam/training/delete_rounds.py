"""Deletion of later rounds, when an earlier round that they build on is done again or a run has
fewer rounds than before.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from epsam.config.decoder import RetrainOptions
from epsam.core.files import read_json, read_table, write_json, write_table
from epsam.engine.replacement import delete_summaries, finished_work, refuse_to_replace
from epsam.paths import RunPaths
from epsam.stage_files import list_later_completions, list_round_files, round_of_completion
from epsam.tables import METRIC_COLUMNS, PSEUDO_LABEL_COLUMNS


def require_replaceable_rounds(options: RetrainOptions) -> None:
    """Raise FinishedWorkError if the run has finished more rounds than --n_iter, and neither
    --replace nor a mark says that they may be lost.
    """
    run = RunPaths.of(options)
    later = list_later_completions(run.root, f"decoder_{options.n_iter}")
    if not options.replace:
        refuse_to_replace(options, finished_work(run, later, f"--n_iter {options.n_iter}"))


def delete_surplus_rounds(run: RunPaths, n_iter: int) -> None:
    """Delete everything of the rounds after `n_iter`, and scores and report that show them."""
    if list_later_completions(run.root, f"decoder_{n_iter}"):
        delete_summaries(run)
    delete_rounds_after(run, n_iter)


def delete_rounds_after(run: RunPaths, number: int) -> None:
    """Delete everything of the rounds after `number`: completion records, decoders, masks, panels,
    and their rows in tables.

    Raises DatasetError if one of the run's tables is damaged.
    """
    for path in list_round_files(run.root, after=number):
        _delete(path)

    _drop_rows(run.metrics, METRIC_COLUMNS, lambda row: _is_later(row["stage"], number))
    _drop_rows(
        run.pseudo_labels,
        PSEUDO_LABEL_COLUMNS,
        lambda row: row["round"].isdecimal() and int(row["round"]) > number,
    )
    for path in (run.options, run.record):
        _drop_stages(path, number)


def _is_later(completion: str, number: int) -> bool:
    """Whether a completion record of that name is one of a round after `number`."""
    round_number = round_of_completion(completion)
    return round_number is not None and round_number > number


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
    remaining = {name: stages[name] for name in stages if not _is_later(name, number)}
    if len(remaining) < len(stages):
        write_json(path, remaining)


def _delete(path: Path) -> None:
    # A link to a folder elsewhere is removed, not the folder.
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
