"""Rows of docs/results/confounder.csv: what sub-classes and PAM do against a confounder.

    python benchmarks/confounder.py                  three seeds of training
    python benchmarks/confounder.py --seeds 22       one of them

Blobs of two kinds are tumour. A green square comes with most of them and with few other patches,
so that a classifier may look at it instead. A row says, of the plain classifier, with sub-classes,
with PAM, or with both: the fraction of the map's mass that lies on the square, over test patches
that have one, and the Dice of the initial mask. All sizes are constants of this file; they were set
before its first run.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from result_rows import append_rows

from epsam.cam.postprocess import cam_to_mask, upsample
from epsam.cam.refiner import build_refiner
from epsam.cam.refiner_sam import resolve_refiner_sam
from epsam.config.classifier import ClassifierOptions
from epsam.config.masks import MaskRule, rule_before_refiner
from epsam.core.device import DeviceConfig, select_device
from epsam.core.seeding import generator
from epsam.data.images import write_mask, write_rgb
from epsam.data.patches import Patch, list_labelled_patches, select_positives
from epsam.engine.fit import fit
from epsam.metrics import count_pixels, macro_dice_iou
from epsam.training.cams import compute_cams, improve_cams
from epsam.training.classifier import build_classifier_schedule, build_classifier_task
from epsam.training.subclasses import find_subclasses
from epsam.weak.registry import build_weak_model

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ("seed", "row", "on_square", "dice", "revision", "command")

SIDE = 128
COUNTS = {"train": (48, 48), "val": (8, 8), "test": (16, 0)}
WITH_TUMOUR, WITHOUT_TUMOUR = 0.8, 0.1
"""Fractions of the patches that have the square."""
DATA_SEED = 1
SUBCLASSES = 4
CLASSIFIER = ClassifierOptions(
    backbone="resnet18", pretrained="none", epoch=5, batch_size=8, workers=0, lr=5e-4, patience=0
)
RULE = MaskRule(refine="pam", map_sam="vit_demo", postprocess="none")
ROWS = ("plain", "+ SCE", "+ PAM", "+ both")

Mask = npt.NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="22,23,24")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results")
    options = parser.parse_args()

    of_all = {
        "revision": read_revision(),
        "command": f"python benchmarks/confounder.py --seeds {options.seeds}",
    }
    path = options.results / "confounder.csv"
    with tempfile.TemporaryDirectory() as name:
        squares = write_dataset(Path(name))
        for seed in options.seeds.split(","):
            scores = run_seed(Path(name), squares, int(seed))
            rows = [of_all | row for row in format_scores(seed, scores)]
            # After each seed: one that ends early leaves the finished ones.
            append_rows(path, COLUMNS, rows)


def format_scores(seed: str, scores: dict[str, tuple[float, float]]) -> list[dict[str, str]]:
    """The rows of a seed, of (mass on the square, Dice) of each row."""
    rows = []
    for row, (mass, dice) in scores.items():
        print(f"seed {seed}  {row:7s}  on the square {mass:.3f}  Dice {dice:.3f}", flush=True)
        rows.append({"seed": seed, "row": row, "on_square": f"{mass:.3f}", "dice": f"{dice:.3f}"})
    return rows


def read_revision() -> str:
    git = ["git", "-C", str(ROOT), "rev-parse", "--short=7", "HEAD"]
    return subprocess.run(git, capture_output=True, text=True).stdout.strip()


def write_dataset(root: Path) -> dict[str, Mask]:
    """Write the patches of all splits; return the square of each test patch that has one."""
    squares = {}
    for split, (positives, negatives) in COUNTS.items():
        for number in range(positives + negatives):
            label = int(number < positives)
            rng = generator(DATA_SEED, "confounder", split, number)
            image, tumour, square = draw_patch(rng, label)
            name = f"p{number}_{label}"
            write_rgb(root / split / "image" / f"{name}.png", image)
            if label:
                write_mask(root / split / "mask" / f"{name}.png", tumour)
            if split == "test" and square.any():
                squares[name] = square
    return squares


def draw_patch(rng: np.random.Generator, label: int) -> tuple[npt.NDArray[np.uint8], Mask, Mask]:
    """A patch (side, side, 3), its tumour and its square."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    image = rng.normal((225, 170, 200), 14, (SIDE, SIDE, 3))
    tumour = np.zeros((SIDE, SIDE), dtype=np.bool_)
    square = np.zeros((SIDE, SIDE), dtype=np.bool_)
    # One in the left half and one in the right, so that they never overlap.
    left, right = rng.permutation([SIDE // 4, 3 * SIDE // 4])
    if label:
        y = rng.integers(28, SIDE - 28)
        tumour = (rows - y) ** 2 + (columns - left) ** 2 < rng.uniform(14, 22) ** 2
        # Two kinds: dark and even, or paler with stripes.
        if rng.random() < 0.5:
            image[tumour] = rng.normal((95, 65, 150), 14, (int(tumour.sum()), 3))
        else:
            stripes = tumour & (rows // 3 % 2 == 0)
            image[tumour] = rng.normal((180, 110, 170), 14, (int(tumour.sum()), 3))
            image[stripes] = rng.normal((120, 60, 120), 14, (int(stripes.sum()), 3))
    if rng.random() < (WITH_TUMOUR if label else WITHOUT_TUMOUR):
        y = rng.integers(28, SIDE - 28)
        square = (abs(rows - y) < 14) & (abs(columns - right) < 14)
        image[square] = rng.normal((120, 190, 120), 14, (int(square.sum()), 3))
    return image.clip(0, 255).astype(np.uint8), tumour, square


def run_seed(root: Path, squares: dict[str, Mask], seed: int) -> dict[str, tuple[float, float]]:
    """(mass on the square, Dice) of each row."""
    device_config = select_device("auto", "fp32")
    test = select_positives(list_labelled_patches(root / "test"))
    rule = resolve_refiner_sam(RULE, "demo", ROOT / "checkpoints")
    results = {}
    for subclasses, plain_row, pam_row in ((0, "plain", "+ PAM"), (SUBCLASSES, "+ SCE", "+ both")):
        options = replace(CLASSIFIER, subclasses=subclasses, seed=seed)
        model = train_classifier(root, options, device_config)
        cams = compute_cams(model, "", test, SIDE, rule_before_refiner(rule), 8, device_config)
        walked = improve_cams(cams, build_refiner(rule), test, SIDE, 8, device_config)
        results[plain_row] = score(cams.maps, test, squares, rule)
        results[pam_row] = score(walked.maps, test, squares, rule)
    return {row: results[row] for row in ROWS}


def train_classifier(
    root: Path, options: ClassifierOptions, device_config: DeviceConfig
) -> torch.nn.Module:
    """The classifier of the best epoch."""
    train, val = (list_labelled_patches(root / split) for split in ("train", "val"))
    model = build_weak_model(options).to(device_config.device)
    subclasses = find_subclasses(model, train, SIDE, options, device_config)
    task = build_classifier_task(model, train, val, SIDE, options, device_config, subclasses)
    progress = root / f"progress-{options.seed}-{options.subclasses}.pth"
    fit(task, build_classifier_schedule(options), progress)
    return model


def score(
    maps: dict[str, npt.NDArray[np.float32]],
    patches: list[Patch],
    squares: dict[str, Mask],
    rule: MaskRule,
) -> tuple[float, float]:
    """The mean fraction of the map's mass on the square, and the mean Dice of the masks."""
    masses, counts = [], []
    for patch in patches:
        cam_map = maps[patch.name]
        counts.append(count_pixels(cam_to_mask(cam_map, patch.read(), rule), patch.ground_truth()))
        large = upsample(cam_map, SIDE, SIDE)
        if patch.name in squares and large.sum() > 0:
            masses.append(float(large[squares[patch.name]].sum() / large.sum()))
    return statistics.mean(masses) if masses else 0.0, macro_dice_iou(counts)[0]


if __name__ == "__main__":
    main()
