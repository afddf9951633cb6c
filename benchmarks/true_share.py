"""Rows of docs/results/true_share.csv: what would a map give if the share of tumour were known?

    python benchmarks/true_share.py "densities and texture" ablation-ebhi/stain_li/seed_22

Of the positives of the validation split that have ground truth, for runs with initial masks: the
mean Dice of the initial masks, and of masks of the same maps that are cut so that each takes as
much of its patch as the ground truth does, without gaps. What is lost up to there is lost in the
threshold, the rest in the order of the map's pixels.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from result_rows import append_rows

from epsam.cam.postprocess import LARGEST_GAP, fill_small_gaps, upsample
from epsam.core.errors import DatasetError
from epsam.core.files import read_json, sha256_of
from epsam.data.cam_store import CamMap, load_cams
from epsam.data.images import Mask, read_mask
from epsam.data.patches import Patch, list_labelled_patches, select_positives
from epsam.metrics import count_pixels, macro_dice_iou
from epsam.paths import RunPaths
from epsam.training.round_data import initial_mask_path

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = (
    *("dataset", "map", "run", "seed", "split", "positives"),
    *("dice", "true_share_dice", "revision", "command"),
)
SPLIT = "val"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("map", help="what the maps are, in words")
    parser.add_argument("runs", nargs="+", help="names of runs that have initial masks")
    parser.add_argument("--checkpoint_root", type=Path, default=ROOT / "checkpoints")
    parser.add_argument("--dataset_root", type=Path, default=ROOT / "dataset")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results")
    options = parser.parse_args()

    path = options.results / "true_share.csv"
    for name in options.runs:
        row = score_run(name, RunPaths(options.checkpoint_root / name), options.dataset_root)
        row |= {"map": options.map}
        row |= {"command": f'python benchmarks/true_share.py "{options.map}" {name}'}
        append_rows(path, COLUMNS, [row])
        print(json.dumps(row), flush=True)


def score_run(name: str, run: RunPaths, dataset_root: Path) -> dict[str, Any]:
    """The row of a run, but for its words. Raises DatasetError if it has no maps or no patch of
    the split has ground truth.
    """
    if not run.cams(SPLIT).is_file():
        raise DatasetError(f"{run.cams(SPLIT)}: no such file; name a run that has initial masks")
    classifier = read_json(run.options)["train_classifier"]
    dataset = classifier["dataset_type"]
    patches = list_labelled_patches(dataset_root / dataset / SPLIT)
    with_truth = [patch for patch in select_positives(patches) if patch.mask]
    if not with_truth:
        raise DatasetError(
            f"{dataset_root / dataset / SPLIT}: no positive has a mask to compare with"
        )

    maps = load_cams(run.cams(SPLIT), sha256_of(run.classifier)).maps
    initial_masks = [read_mask(initial_mask_path(run, SPLIT, patch)) for patch in with_truth]
    cut_masks = []
    for patch in with_truth:
        cut_masks.append(cut_at_share(maps[patch.name], patch.ground_truth()))
    record = read_json(run.record)["generate_initial_masks"]
    return {
        "dataset": dataset,
        "run": name,
        "seed": classifier["seed"],
        "split": SPLIT,
        "positives": len(with_truth),
        "dice": f"{mean_dice(initial_masks, with_truth):.3f}",
        "true_share_dice": f"{mean_dice(cut_masks, with_truth):.3f}",
        "revision": record["code"]["git"][:7],
    }


def cut_at_share(cam_map: CamMap, ground_truth: Mask) -> Mask:
    """The highest pixels of the map, as many as the ground truth (height, width) has, and those
    that equal the last of them; gaps that Li's threshold would fill are filled.
    """
    upsampled = upsample(cam_map, *ground_truth.shape)
    n_tumour = int(ground_truth.sum())
    if not n_tumour:
        return np.zeros_like(ground_truth)
    threshold = np.sort(upsampled, axis=None)[-n_tumour]
    return fill_small_gaps(upsampled >= threshold, LARGEST_GAP)


def mean_dice(masks: list[Mask], patches: list[Patch]) -> float:
    """The mean Dice of masks and the ground truth of their patches."""
    counts = []
    for mask, patch in zip(masks, patches, strict=True):
        counts.append(count_pixels(mask, patch.ground_truth()))
    dice, _ = macro_dice_iou(counts)
    return dice


if __name__ == "__main__":
    main()
