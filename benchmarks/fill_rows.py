"""Rows of docs/results/fill.csv: what masks of no method score on the patches of a dataset.

    python benchmarks/fill_rows.py ebhi

`fill`: every positive patch filled, negatives empty. `all`: every patch filled. Both follow from
the ground truth alone, so there is no seed and no run, and a row is the same on every machine.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from result_rows import append_rows

from epsam.config.common import SPLITS
from epsam.data.patches import Patch, list_labelled_patches, select_positives
from epsam.metrics import PixelCounts, count_pixels, macro_dice_iou, sum_counts
from epsam.tables import ALL_FILLED, FILL

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = (
    *("dataset", "split", "masks", "positives", "negatives", "dice", "iou", "all_iou"),
    *("revision", "command"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="folder of the datasets' root")
    parser.add_argument("--dataset_root", type=Path, default=ROOT / "dataset")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results")
    options = parser.parse_args()

    git = ["git", "-C", str(ROOT), "rev-parse", "--short=7", "HEAD"]
    revision = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    of_all = {
        "dataset": options.dataset,
        "revision": revision,
        "command": f"python benchmarks/fill_rows.py {options.dataset}",
    }
    rows = []
    for split in SPLITS:
        folder = options.dataset_root / options.dataset / split
        if folder.is_dir():
            patches = list_labelled_patches(folder)
            rows += [of_all | {"split": split} | row for row in score_filled(patches)]

    path = options.results / "fill.csv"
    append_rows(path, COLUMNS, rows)


def score_filled(patches: Sequence[Patch]) -> list[dict[str, Any]]:
    """The rows of `fill` and `all` for the patches of a split; positives without a mask are left
    out.
    """
    positives = [patch for patch in select_positives(patches) if patch.mask]
    n_negatives = sum(1 for patch in patches if patch.label == 0)
    overlaps = []
    for patch in positives:
        ground_truth = patch.ground_truth()
        overlaps.append(count_pixels(np.ones_like(ground_truth), ground_truth))

    dice, iou = macro_dice_iou(overlaps)
    by_label = sum_counts(overlaps)
    # All patches of a dataset have one size.
    area = n_negatives * overlaps[0].predicted
    everything = sum_counts([by_label, PixelCounts(tp=0, predicted=area, target=0)])
    rows = []
    for name, total in ((FILL, by_label), (ALL_FILLED, everything)):
        row = {
            "masks": name,
            "positives": len(positives),
            "negatives": n_negatives,
            "dice": f"{dice:.3f}",
            "iou": f"{iou:.3f}",
            "all_iou": f"{total.iou:.3f}",
        }
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
