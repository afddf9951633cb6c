"""Rows of docs/results/real_tissue*.csv from evaluated runs, one run for each seed.

    python benchmarks/real_tissue.py paper --command "DATASET_TYPE=ebhi ./train.sh" ebhi ebhi-23

The rows of each run go to real_tissue.csv. Their differences from the masks of no method ("fill",
every positive patch filled), the initial masks and zero-shot SAM go to real_tissue_differences.csv:
the mean over patches of the means over seeds, with an interval by case. Then
`python benchmarks/result_tables.py` makes the tables of docs/real_tissue.md.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from result_rows import append_rows

from epsam.ablation.paper_tables import FINAL
from epsam.ablation.results import PatchMetrics, ScoreKey, read_scores
from epsam.ablation.statistics import mean_over_patches, mean_over_seeds, paired_difference
from epsam.core.files import read_json, read_table
from epsam.paths import RunPaths
from epsam.tables import ALL_FILLED, FILL, INITIAL, ZERO_SHOT

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
SPLIT = "test"
NO_METHOD = (FILL, ALL_FILLED)
"""Masks of no method: every positive patch filled, and every patch filled."""
BESIDE = (FILL, INITIAL, ZERO_SHOT)

ALL_PATCHES = ("all_patches", "all_iou", "precision", "recall", "false_positive_area", "auroc")
RUN_COLUMNS = (
    *("dataset", "row", "seed", "split", "masks", "patches", "dice", "iou"),
    *ALL_PATCHES,
    *("minutes", "revision", "command"),
)
DIFFERENCE_COLUMNS = (
    *("dataset", "row", "seeds", "split", "masks", "beside", "patches", "cases"),
    *("dice", "beside_dice", "difference", "low", "high", "revision", "command"),
)


@dataclass(frozen=True)
class EvaluatedRun:
    """What a run says of itself, and its scores. minutes: all its stages together."""

    dataset: str
    seed: int
    revision: str
    minutes: float
    summary: list[dict[str, str]]
    scores: Mapping[ScoreKey, PatchMetrics]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("row", help="what these runs have in common, such as paper or strong")
    parser.add_argument("runs", nargs="+", help="names of runs, one for each seed")
    parser.add_argument("--command", required=True, help="how the first run was started")
    parser.add_argument("--checkpoint_root", type=Path, default=ROOT / "checkpoints")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()

    runs = [load_run(options.checkpoint_root / name) for name in options.runs]
    fixed = {"row": options.row, "command": options.command}
    rows = []
    for run in runs:
        rows += [row | fixed for row in rows_of_run(run)]
    append_rows(options.results / "real_tissue.csv", RUN_COLUMNS, rows)

    differences = [row | fixed for row in rows_of_differences(runs)]
    append_rows(options.results / "real_tissue_differences.csv", DIFFERENCE_COLUMNS, differences)


def load_run(folder: Path) -> EvaluatedRun:
    """An evaluated run. Raises DatasetError if it was not evaluated."""
    run = RunPaths(folder)
    scores = read_scores(run)
    stages = read_json(run.record)
    seconds = 0.0
    for stage in stages.values():
        seconds += max(stage["seconds"], stage.get("fit_seconds", 0.0))
    evaluate = stages["evaluate"]
    options = evaluate["options"]
    return EvaluatedRun(
        options["dataset_type"],
        options["seed"],
        evaluate["code"]["git"][:7],
        seconds / 60,
        read_table(run.evaluation, ("split", "what", "patches", "dice", "iou")),
        scores,
    )


def rows_of_run(run: EvaluatedRun) -> list[dict[str, Any]]:
    """A row of real_tissue.csv for all masks of validation and test."""
    rows = []
    for scored in run.summary:
        if scored["split"] == "train":
            continue
        row = {
            "dataset": run.dataset,
            "seed": run.seed,
            "split": scored["split"],
            "masks": scored["what"],
            "patches": scored["patches"],
            "minutes": f"{run.minutes:.0f}",
            "revision": run.revision,
        }
        for column in ("dice", "iou", *ALL_PATCHES):
            value = scored.get(column, "")
            row[column] = f"{float(value):.3f}" if "." in value else value
        rows.append(row)
    return rows


def rows_of_differences(runs: Sequence[EvaluatedRun]) -> list[dict[str, Any]]:
    """A row of real_tissue_differences.csv for each predictor of the test split beside each of
    `BESIDE`.
    """
    rows = []
    for split, predictor in runs[0].scores:
        if split != SPLIT or predictor in (FINAL, *NO_METHOD):
            continue
        for beside in BESIDE:
            pair = {(SPLIT, predictor), (SPLIT, beside)}
            in_all = all(pair <= run.scores.keys() for run in runs)
            if in_all and beside != predictor:
                rows.append(difference_row(runs, predictor, beside))
    return rows


def difference_row(runs: Sequence[EvaluatedRun], predictor: str, beside: str) -> dict[str, Any]:
    """How much Dice `predictor` has on the test split above `beside`, paired by patch."""
    dice = mean_over_seeds([run.scores[SPLIT, predictor].dice for run in runs])
    beside_dice = mean_over_seeds([run.scores[SPLIT, beside].dice for run in runs])
    cases = runs[0].scores[SPLIT, predictor].cases
    difference = paired_difference(beside_dice, dice, cases=cases)
    return {
        "dataset": runs[0].dataset,
        "seeds": " ".join(str(run.seed) for run in runs),
        "split": SPLIT,
        "masks": predictor,
        "beside": beside,
        "patches": difference.patches,
        "cases": len({cases[name] for name in dice if name in cases}),
        "dice": f"{mean_over_patches(dice):.3f}",
        "beside_dice": f"{mean_over_patches(beside_dice):.3f}",
        "difference": f"{difference.mean:+.3f}",
        "low": f"{difference.low:+.3f}",
        "high": f"{difference.high:+.3f}",
        "revision": runs[0].revision,
    }


if __name__ == "__main__":
    main()
