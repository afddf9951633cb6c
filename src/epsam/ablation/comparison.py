"""Any runs beside the first of them: the options that differ, and the scores."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from epsam.ablation.paper_tables import FINAL
from epsam.ablation.results import PatchMetrics, ScoreKey, read_scores
from epsam.ablation.statistics import (
    describe_intervals,
    mean_over_patches,
    paired_difference,
)
from epsam.core.errors import DatasetError
from epsam.core.files import read_json
from epsam.paths import RunPaths

# These name a run or say how it is started; they are no settings of the experiment.
IGNORED_OPTIONS = frozenset({"run", "restart", "replace", "debug"})
DifferingOptions = dict[str, list[str]]
"""«stage.option» → its value in each run, in their order; empty where a run has no such stage."""


@dataclass(frozen=True)
class RunScores:
    """The scores of one run."""

    name: str
    scores: Mapping[ScoreKey, PatchMetrics]

    def predictors(self, split: str) -> list[str]:
        return [predictor for scored_split, predictor in self.scores if scored_split == split]


def options_that_differ(runs: Mapping[str, RunPaths]) -> DifferingOptions:
    """The options of options.json that are not the same in all runs.

    Raises DatasetError if a run has none.
    """
    # Values are compared as JSON, which writes lists and numbers in one way.
    options_of_runs = [_read_options(name, run) for name, run in runs.items()]
    names = sorted(set().union(*options_of_runs))

    differing = {}
    for name in names:
        values = [options.get(name, "") for options in options_of_runs]
        if len(set(values)) > 1:
            differing[name] = values
    return differing


def compare_runs(runs: Mapping[str, RunPaths], split: str) -> list[dict[str, Any]]:
    """A record for each predictor and each run; metrics in per cent.

    Differences are those from the first run, over the patches that both have. Raises DatasetError
    if a run was not evaluated or has no scores of that split.
    """
    scores_of_runs = [RunScores(name, read_scores(run)) for name, run in runs.items()]
    for run in scores_of_runs:
        if not run.predictors(split):
            raise DatasetError(
                f"{runs[run.name].patch_scores}: no scores of split {split}; choose another --split"
            )

    records = []
    for predictor in _list_predictors(scores_of_runs, split):
        base = scores_of_runs[0].scores.get((split, predictor))
        for run in scores_of_runs:
            metrics = run.scores.get((split, predictor))
            if metrics is not None:
                records.append(_compare(predictor, run.name, metrics, base))
    return records


def format_comparison(
    differing: DifferingOptions, records: Sequence[Mapping[str, Any]], split: str
) -> str:
    """The comparison as Markdown."""
    names = list(dict.fromkeys(str(record["run"]) for record in records))
    lines = [
        "### Options that differ",
        "",
        f"| option | {' | '.join(names)} |",
        "| --- |" + " --- |" * len(names),
    ]
    for option, values in differing.items():
        lines.append(f"| {option} | {' | '.join(values)} |")

    lines += [
        "",
        f"### Scores on {split}, per cent, and the difference in Dice from {names[0]} "
        "[95 % bootstrap interval]",
        "",
        describe_intervals(str(record["drawn"]) for record in records),
        "",
        "| masks | run | patches | Dice | IoU | Δ Dice |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for record in records:
        # The first run's difference from itself says nothing.
        difference = "" if record["run"] == names[0] else _format_difference(record)
        lines.append(
            f"| {record['masks']} | {record['run']} | {record['patches']} | {record['dice']:.2f} | "
            f"{record['iou']:.2f} | {difference} |"
        )
    return "\n".join([*lines, ""])


def _list_predictors(scores_of_runs: Sequence[RunScores], split: str) -> list[str]:
    """Every predictor of any run in the order of training, the last decoder at the end."""
    predictors: dict[str, None] = {}
    for run in scores_of_runs:
        predictors.update(dict.fromkeys(run.predictors(split)))

    # FINAL repeats a round; read_scores puts it wherever that round is.
    ordered = [predictor for predictor in predictors if predictor != FINAL]
    return [*ordered, FINAL] if FINAL in predictors else ordered


def _compare(
    predictor: str, run: str, metrics: PatchMetrics, base: PatchMetrics | None
) -> dict[str, Any]:
    difference = paired_difference(base.dice if base else {}, metrics.dice, cases=metrics.cases)
    record = {
        "masks": predictor,
        "run": run,
        "patches": len(metrics.dice),
        "common_patches": difference.patches,
        "drawn": metrics.drawn,
    }
    for name, value in (
        ("dice", mean_over_patches(metrics.dice)),
        ("iou", mean_over_patches(metrics.iou)),
        ("difference", difference.mean),
        ("low", difference.low),
        ("high", difference.high),
    ):
        record[name] = round(100 * value, 4)
    return record


def _format_difference(record: Mapping[str, Any]) -> str:
    if math.isnan(record["difference"]):
        return ""
    return f"{record['difference']:+.2f} [{record['low']:+.2f}, {record['high']:+.2f}]"


def _read_options(name: str, run: RunPaths) -> dict[str, str]:
    """All options of a run as «stage.option» → JSON."""
    if not run.options.is_file():
        raise DatasetError(f"{run.options}: no such file; is {name} the name of a run?")

    values = {}
    for stage, options in read_json(run.options).items():
        for option, value in options.items():
            if option not in IGNORED_OPTIONS:
                values[f"{stage}.{option}"] = json.dumps(value, ensure_ascii=False)
    return values
