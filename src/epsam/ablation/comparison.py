"""Any runs beside the first of them: what was set differently, and what came of it."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from epsam.ablation.paper_tables import FINAL
from epsam.ablation.results import read_scores
from epsam.ablation.statistics import paired_difference
from epsam.core.errors import DatasetError
from epsam.core.files import read_json
from epsam.paths import RunPaths

# What a run is called and where it computed is no setting of the experiment.
UNINTERESTING = frozenset({"run", "restart", "debug"})
Differing = dict[str, list[str]]
"""«stage.option» → its value in each run, in their order; empty where a run has no such stage."""


def options_that_differ(runs: Mapping[str, RunPaths]) -> Differing:
    """The options, as options.json keeps them, that are not the same in all runs.

    Raises DatasetError if a run kept none.
    """
    kept = [_flat(name, run) for name, run in runs.items()]
    names = sorted(set().union(*kept))
    values = {name: [found.get(name, "") for found in kept] for name in names}
    return {name: given for name, given in values.items() if len(set(given)) > 1}


def compare_runs(runs: Mapping[str, RunPaths], split: str) -> list[dict[str, Any]]:
    """A record for each thing that makes masks and each run; figures in per cent.

    Differences are those from the first run, over the patches that both have. Raises DatasetError
    if a run was not evaluated or has no scores of that split.
    """
    scores = {name: read_scores(run) for name, run in runs.items()}
    for name, found in scores.items():
        if not any(where == split for where, _ in found):
            raise DatasetError(
                f"{runs[name].patch_scores}: no scores of split {split}; choose another --split"
            )
    whats = list(
        dict.fromkeys(what for found in scores.values() for where, what in found if where == split)
    )
    first = next(iter(scores.values()))
    records = []
    for what in [*(what for what in whats if what != FINAL), *([FINAL] if FINAL in whats else [])]:
        for name, found in scores.items():
            if (split, what) in found:
                own = found[split, what]
                base = first[split, what].dice if (split, what) in first else {}
                gain = paired_difference(base, own.dice)
                figures = {
                    "dice": _mean(own.dice),
                    "iou": _mean(own.iou),
                    "difference": gain.mean,
                    "low": gain.low,
                    "high": gain.high,
                }
                records.append(
                    {
                        "masks": what,
                        "run": name,
                        "patches": len(own.dice),
                        "common_patches": gain.patches,
                        **{key: round(100 * value, 4) for key, value in figures.items()},
                    }
                )
    return records


def markdown(differing: Differing, records: Sequence[Mapping[str, Any]], split: str) -> str:
    """The comparison for people."""
    names = list(dict.fromkeys(str(record["run"]) for record in records))
    lines = [
        "### Options that differ",
        "",
        f"| option | {' | '.join(names)} |",
        "| --- |" + " --- |" * len(names),
    ]
    lines += [f"| {option} | {' | '.join(values)} |" for option, values in differing.items()]
    lines += [
        "",
        f"### Scores on {split}, per cent, and the difference in Dice from {names[0]} "
        "[95 % bootstrap interval over patches]",
        "",
        "| masks | run | patches | Dice | IoU | Δ Dice |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for record in records:
        shown = (
            ""
            if record["run"] == names[0] or math.isnan(record["difference"])
            else (f"{record['difference']:+.2f} [{record['low']:+.2f}, {record['high']:+.2f}]")
        )
        lines.append(
            f"| {record['masks']} | {record['run']} | {record['patches']} | {record['dice']:.2f} | "
            f"{record['iou']:.2f} | {shown} |"
        )
    return "\n".join([*lines, ""])


def _flat(name: str, run: RunPaths) -> dict[str, str]:
    if not run.options.is_file():
        raise DatasetError(f"{run.options}: no such file; is {name} the name of a run?")
    stages = read_json(run.options)
    return {
        f"{stage}.{option}": json.dumps(value, ensure_ascii=False)
        for stage, options in stages.items()
        for option, value in options.items()
        if option not in UNINTERESTING
    }


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)
