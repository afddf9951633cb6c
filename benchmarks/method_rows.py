"""Rows of docs/results/methods.csv, or of another table, from evaluated runs of any METHOD.

    python benchmarks/method_rows.py --command "METHOD=sam_box ./train.sh" sam_box demo-sam_box

The rows of each run: the masks that it was scored with on validation and test, on positives and on
all patches, and what its training cost. Seconds are wall time, of a machine that may have had other
work. With --beside, their difference in Dice from the same masks of another run, patch by patch,
with its bootstrap interval (95 %) over cases, or over patches where cases are not known.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from epsam.ablation.comparison import compare_runs
from epsam.ablation.costs import read_cost
from epsam.core.files import read_json, read_table, write_table
from epsam.paths import RunPaths
from epsam.tables import ALL_FILLED, FILL, SCORE_COLUMNS

ROOT = Path(__file__).resolve().parents[1]
DIFFERENCES = ("difference", "low", "high")
COLUMNS = (
    *("dataset", "method", "seed", "split", "masks", "patches", "dice", "iou"),
    *("all_patches", "all_iou", "false_positive_area", "auroc"),
    *("parameters", "seconds", "peak_gib", "revision", "command"),
    *DIFFERENCES,
)
SPLITS = ("val", "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("method", help="METHOD of train.sh, or a row of ablate.sh")
    parser.add_argument("runs", nargs="+", help="names of runs, one for each seed")
    parser.add_argument("--command", required=True, help="how the runs were started")
    parser.add_argument("--beside", help="name of a run of the same patches to subtract")
    parser.add_argument("--checkpoint_root", type=Path, default=ROOT / "checkpoints")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--table", default="methods.csv", help="file in --results")
    parser.add_argument(
        "--splits",
        nargs="+",
        default=SPLITS,
        help="val alone where the test split is not looked at",
    )
    options = parser.parse_args()

    path = options.results / options.table
    fixed = {"method": options.method, "command": options.command}
    rows = read_table(path, COLUMNS) if path.is_file() else []
    base = RunPaths(options.checkpoint_root / options.beside) if options.beside else None
    for name in options.runs:
        run = RunPaths(options.checkpoint_root / name)
        differences = differences_of_run(run, base) if base else {}
        for row in rows_of_run(run):
            if row["split"] not in options.splits:
                continue
            difference = differences.get((row["split"], row["masks"]), {})
            rows.append(row | difference | fixed)
    write_table(path, COLUMNS, rows)


def differences_of_run(run: RunPaths, base: RunPaths) -> dict[tuple[str, str], dict[str, str]]:
    """(split, masks) → difference in Dice from the same masks of `base`, and its interval."""
    differences = {}
    for split in SPLITS:
        for record in compare_runs({"base": base, "run": run}, split):
            if record["run"] == "run" and not math.isnan(record["difference"]):
                # Records are in per cent.
                cells = {name: f"{record[name] / 100:+.3f}" for name in DIFFERENCES}
                differences[split, record["masks"]] = cells
    return differences


def rows_of_run(run: RunPaths) -> Iterator[dict[str, Any]]:
    """A row for each predictor of validation and test. Raises DatasetError if the run was not
    evaluated.
    """
    evaluation = read_json(run.record)["evaluate"]
    cost = read_cost(run)
    costs: dict[str, Any] = {
        "parameters": cost.parameters,
        "seconds": f"{cost.seconds:.0f}",
        "peak_gib": f"{cost.peak_gib:.2f}",
    }
    of_run = {
        "dataset": evaluation["options"]["dataset_type"],
        "seed": evaluation["options"]["seed"],
        "revision": evaluation["code"]["git"][:7],
    }
    for row in read_table(run.evaluation, SCORE_COLUMNS):
        if row["split"] in SPLITS:
            # Masks of no method cost nothing.
            is_method = row["what"] not in (FILL, ALL_FILLED)
            yield (
                of_run
                | (costs if is_method else dict.fromkeys(costs, ""))
                | {
                    "split": row["split"],
                    "masks": row["what"],
                    "patches": row["patches"],
                    "dice": f"{float(row['dice']):.3f}",
                    "iou": f"{float(row['iou']):.3f}",
                    "all_patches": row["all_patches"],
                    "all_iou": f"{float(row['all_iou']):.3f}",
                    "false_positive_area": f"{float(row['false_positive_area']):.3f}",
                    "auroc": f"{float(row['auroc']):.3f}" if row["auroc"] else "",
                }
            )


if __name__ == "__main__":
    main()
