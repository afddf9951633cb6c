"""Lines of docs/results/method_table.csv: Table 2 of an ablation, with the revision of its runs.

    python benchmarks/table_2_lines.py ablation-demo --command "ONLY=table_2 ./ablate.sh"

Means over seeds, in per cent, as ablate.py computed them, and the difference in Dice from EP-SAM.
The lines of the dataset that the file held before are replaced.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from epsam.core.errors import DatasetError
from epsam.core.files import read_json, read_table, write_table
from epsam.paths import RunPaths
from epsam.tables import METHOD_TABLE_COLUMNS

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path("tables") / "table_2.csv"
DECIMALS = {
    **dict.fromkeys(("dice", "dice_sd", "iou", "iou_sd", "all_iou", "all_iou_sd"), "{:.2f}"),
    **dict.fromkeys(("difference", "low", "high"), "{:+.2f}"),
    "parameters": "{:.0f}",
    "seconds": "{:.0f}",
    "peak_gib": "{:.2f}",
}
TEXTS = ("line", "labels", "masks", "seeds")
PAPER = ("paper_camelyon17", "paper_camelyon16", "paper_internal")
NOT_MEASURED = "not measured"
COLUMNS = ("dataset", *TEXTS, *DECIMALS, *PAPER, "revision", "revision_note", "command")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("name", help="the ablation's folder below checkpoints/")
    parser.add_argument("--command", required=True, help="how it was started")
    parser.add_argument("--checkpoint_root", type=Path, default=ROOT / "checkpoints")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results")
    options = parser.parse_args()

    path = options.results / "method_table.csv"
    lines = read_lines(options.checkpoint_root / options.name, options.command)
    datasets = {line["dataset"] for line in lines}
    earlier = read_table(path, COLUMNS) if path.is_file() else []
    kept = [line for line in earlier if line["dataset"] not in datasets]
    write_table(path, COLUMNS, [*kept, *lines])


def read_lines(root: Path, command: str) -> list[dict[str, Any]]:
    """The lines of an ablation's Table 2 as rows. Raises DatasetError if it has no such table."""
    if not (root / TABLE).is_file():
        raise DatasetError(f"{root / TABLE}: no such file; run ablate.sh with ONLY=table_2 first")
    records = read_table(root / TABLE, METHOD_TABLE_COLUMNS)
    evaluations = list_evaluations(root, [record["row"] for record in records])
    datasets = {evaluation["options"]["dataset_type"] for evaluation in evaluations}
    lines = []
    for record in records:
        # Masks of no method, which have no row of their own, stand in every run.
        of_row = list_evaluations(root, [record["row"]]) if record["row"] else evaluations
        line = {name: record[name] for name in (*TEXTS, *PAPER)}
        line |= {name: format_number(record[name], form) for name, form in DECIMALS.items()}
        line["dataset"] = " ".join(sorted(datasets))
        line["revision_note"] = record["note"] if of_row or record["note"] else NOT_MEASURED
        line["revision"] = " ".join(sorted({entry["code"]["git"][:7] for entry in of_row}))
        line["command"] = command
        lines.append(line)
    return lines


def list_evaluations(root: Path, rows: Sequence[str]) -> list[Mapping[str, Any]]:
    """What evaluate.py recorded in each run of the rows, whichever seeds they have."""
    evaluations = []
    for row in sorted(set(rows) - {""}):
        for folder in sorted((root / row).glob("seed_*")):
            record = RunPaths(folder).record
            stages = read_json(record) if record.is_file() else {}
            if "evaluate" in stages:
                evaluations.append(stages["evaluate"])
    return evaluations


def format_number(text: str, form: str) -> str:
    """A cell of the table rounded; "" for one without a number."""
    value = float(text) if text else math.nan
    return "" if math.isnan(value) else form.format(value)


if __name__ == "__main__":
    main()
