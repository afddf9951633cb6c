"""Runs side by side: `python src/compare.py RUN RUN …`. Options that differ, scores, and the
difference in Dice.
"""

import logging
import sys
from pathlib import Path

from epsam.ablation.comparison import compare_runs, format_comparison, options_that_differ
from epsam.config.ablation import CompareOptions
from epsam.config.command_line import run_stage
from epsam.core.errors import EpsamError
from epsam.core.files import write_table, write_text
from epsam.core.output_folders import claim_output_folder
from epsam.paths import RunPaths
from epsam.tables import COMPARISON_COLUMNS

log = logging.getLogger(__name__)


def main(options: CompareOptions) -> None:
    """Print the comparison with the first run, and write it if a folder is given."""
    if len(options.runs) < 2:
        raise EpsamError(
            f"compare: {len(options.runs)} run(s) given; name two or more folders of checkpoints/"
        )

    runs = {name: RunPaths(Path(options.checkpoint_root) / name) for name in options.runs}
    for run in runs.values():
        if not run.root.is_dir():
            raise EpsamError(f"{run.root}: no such run; name folders of {options.checkpoint_root}/")
    if options.output_dir:
        folders = [run.root for run in runs.values()]
        claim_output_folder(Path(options.output_dir), "compare", folders)
    records = compare_runs(runs, options.split)
    text = format_comparison(options_that_differ(runs), records, options.split)
    log.info("%s", text)
    if options.output_dir:
        write_text(Path(options.output_dir) / "compare.md", text)
        write_table(Path(options.output_dir) / "compare.csv", COMPARISON_COLUMNS, records)


def runs_to_flag(arguments: list[str]) -> list[str]:
    """The arguments with the run names before the first flag as the value of --runs."""
    runs: list[str] = []
    for argument in arguments:
        if argument.startswith("-"):
            break
        runs.append(argument)
    if not runs:
        return arguments
    return [f"--runs={','.join(runs)}", *arguments[len(runs) :]]


if __name__ == "__main__":
    sys.argv[1:] = runs_to_flag(sys.argv[1:])
    run_stage("compare", CompareOptions, main)
