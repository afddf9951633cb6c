"""Rows of docs/results/corrections.csv: what corrections bring, by a simulated annotator.

    python benchmarks/corrections.py checkpoints/ebhi-22 --epoch 3

Of a finished run, so many training patches are corrected as a person would, who never errs: the
whole patch is reviewed, and its tumour is that of the ground truth. These are either the first
ones of next_slides.py ("uncertain"), or as many at random; more patches include the fewer ones.
Each set makes one round from the run's preliminary decoder, whose epoch validation chooses, and
its decoder is scored on test. The row of 0 patches is such a round without corrections, by the
same code; then come those of the run's own decoders. The new runs lie beside the run. They have no
pseudo-labels, which only another round would need.

A row is written as soon as its round has been scored, and a second call goes on with what is
missing. A set that fails is named, and the others are measured.

    python benchmarks/corrections.py --draw      the picture of the rows in asset/corrections.png
"""

import argparse
import logging
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from correction_rounds import (
    ORDERS,
    Counts,
    Source,
    load_source,
    order_patches,
    score_decoders,
    train_round,
)

from epsam.ablation.statistics import mean_over_patches, paired_difference
from epsam.core.errors import EpsamError
from epsam.core.files import read_table, write_table
from epsam.data.cases import load_groups
from epsam.data.images import write_rgb
from epsam.paths import RunPaths
from epsam.pictures.curves import Series, plot_curves
from epsam.pictures.figure import render_figure
from epsam.tables import METRIC_COLUMNS, PRELIMINARY

ROOT = Path(__file__).resolve().parents[1]
# From the most telling one on: the last may be cut off.
COUNTS = (20, 40, 10)
ROUND = "round 1"
OF_THE_RUN = "of the run"
"""In column `order`: a decoder of the run itself, as its own options say."""
COLUMNS = (
    *("dataset", "seed", "masks", "order", "corrected", "epochs", "patches", "dice", "iou"),
    *("difference", "low", "high", "val_dice", "revision", "command"),
)
SET_COLUMNS = ("dataset", "seed", "masks", "order", "corrected", "revision", "command")
"""Columns that say what a row is of."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResultTable:
    """The rows of docs/results/corrections.csv; `fixed` are the columns of this call."""

    path: Path
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def read(self) -> list[dict[str, str]]:
        """All rows; none without the file."""
        return read_table(self.path, COLUMNS) if self.path.is_file() else []

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether there is a row of the same set, command and revision."""
        values = {**self.fixed, **row}
        for earlier in self.read():
            if all(earlier[name] == str(values.get(name, "")) for name in SET_COLUMNS):
                return True
        return False

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row at the end, unless it is there; those of other days stay."""
        if not self.holds(row):
            write_table(self.path, COLUMNS, [*self.read(), {**self.fixed, **row}])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", type=Path, help="folder of a finished run of EP-SAM")
    parser.add_argument("--draw", action="store_true", help="draw the picture of all rows alone")
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)), help="patches to correct")
    parser.add_argument("--epoch", type=int, default=0, help="epochs of a round; 0: as in the run")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results")
    options = parser.parse_args()
    path = options.results / "corrections.csv"
    if options.draw:
        write_rgb(ROOT / "asset" / "corrections.png", draw_rows(ResultTable(path).read()))
        return

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    source = load_source(options.run, options.epoch)
    git = ["git", "-C", str(ROOT), "rev-parse", "--short=7", "HEAD"]
    command = f"python benchmarks/corrections.py checkpoints/{shlex.quote(source.name)}"
    if options.epoch:
        command += f" --epoch {options.epoch}"
    fixed = {
        "dataset": source.options.dataset_type,
        "seed": source.options.seed,
        "epochs": source.options.epoch,
        "revision": subprocess.run(git, capture_output=True, text=True).stdout.strip(),
        "command": command,
    }
    counts = [int(count) for count in options.counts.split(",")]
    failed = measure(source, counts, ResultTable(path, fixed))
    if failed:
        sys.exit(f"error: {len(failed)} sets have no row: {', '.join(failed)}; see above")


def measure(source: Source, counts: Sequence[int], table: ResultTable) -> list[str]:
    """Add a row for a round without corrections, for each of the run's decoders, and for each set
    of corrections; what the table holds is left out. Returns the sets that failed.
    """
    run, val_dice = train_round(source, f"{source.name}-0", [])
    baseline = score_decoders(source, run, [ROUND])[ROUND]
    columns: dict[str, Any] = {"masks": ROUND, "order": "", "corrected": 0}
    table.append({**columns, **score_row(source, val_dice, baseline, baseline)})
    add_own_decoders(source, table, baseline)

    failed = []
    names = {order: order_patches(source, order) for order in ORDERS}
    for count in counts:
        for order in ORDERS:
            columns = {"masks": ROUND, "order": order, "corrected": count}
            if table.holds(columns):
                continue
            try:
                name = f"{source.name}-{order}-{count}"
                run, val_dice = train_round(source, name, names[order][:count])
                scores = score_decoders(source, run, [ROUND])[ROUND]
            except EpsamError as error:
                log.error("%d %s: failed: %s", count, order, error)
                failed.append(f"{count} {order}")
                continue
            table.append({**columns, **score_row(source, val_dice, scores, baseline)})
    return failed


def add_own_decoders(source: Source, table: ResultTable, baseline: Counts) -> None:
    """Add a row for the preliminary decoder of the run, and for each of its rounds."""
    run = source.run.run
    for masks, scores in score_decoders(source, run).items():
        stage = "decoder_0" if masks == PRELIMINARY else f"decoder_{masks.split()[-1]}"
        columns = {"masks": masks, "order": OF_THE_RUN, "corrected": 0}
        epochs = source.run.options[stage]["epoch"]
        row = score_row(source, best_on_validation(run, stage), scores, baseline)
        table.append({**columns, **row, "epochs": epochs})


def score_row(source: Source, val_dice: float, scores: Counts, baseline: Counts) -> dict[str, Any]:
    """The columns of scores. The difference is that from the round without corrections, paired by
    patch, with an interval by case.
    """
    dice = {name: counts.dice for name, counts in scores.items()}
    iou = {name: counts.iou for name, counts in scores.items()}
    row: dict[str, Any] = {
        "patches": len(dice),
        "dice": f"{mean_over_patches(dice):.3f}",
        "iou": f"{mean_over_patches(iou):.3f}",
        "val_dice": f"{val_dice:.3f}",
    }
    if scores is not baseline:
        first = {name: counts.dice for name, counts in baseline.items()}
        groups = load_groups(source.run.data.patch_table)
        difference = paired_difference(first, dice, cases=groups.by_patch)
        row["difference"] = f"{difference.mean:+.3f}"
        row["low"] = f"{difference.low:+.3f}"
        row["high"] = f"{difference.high:+.3f}"
    return row


def best_on_validation(run: RunPaths, stage: str) -> float:
    """The validation Dice of the epoch that was chosen."""
    best = 0.0
    for row in read_table(run.metrics, METRIC_COLUMNS):
        if (row["stage"], row["name"]) == (stage, "val_dice"):
            best = max(best, float(row["value"]))
    return best


def draw_rows(rows: Sequence[Mapping[str, str]]) -> Any:
    """The picture of all rows."""
    figure = plot_curves(list_series(rows), "Corrections", "Dice on test")
    figure.axes[0].set_xlabel("corrected training patches")
    return render_figure(figure)


def list_series(rows: Sequence[Mapping[str, str]]) -> Series:
    """Dice over the number of corrected patches, a line for each dataset and order: the mean over
    the seeds that have a row.
    """
    values: dict[tuple[str, str], dict[int, list[float]]] = {}
    for row in rows:
        if row["order"] == OF_THE_RUN:
            continue
        # Both lines begin at the round without corrections.
        for order in [row["order"]] if row["order"] else ORDERS:
            by_count = values.setdefault((row["dataset"], order), {})
            by_count.setdefault(int(row["corrected"]), []).append(float(row["dice"]))

    series: Series = {}
    for (dataset, order), by_count in values.items():
        # Rows come in the order in which they were measured.
        means = [(float(count), mean(by_count[count])) for count in sorted(by_count)]
        series[f"{dataset}: {order}"] = means
    return series


if __name__ == "__main__":
    main()
