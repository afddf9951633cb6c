"""Rows of docs/results/map_regressions.csv: what may a regression of the CAM see, and how freely?

    python benchmarks/map_regressions.py ablation-ebhi/paper/seed_22

Stain regression has few features and a stiff ridge. Here are others: each is fitted to the CAMs of
the training positives, and again to their ground truth. Of the positives of the validation split:
the mean AUROC of pixels by the map, the mean Dice of masks by Li's threshold without opening, and
that of masks that are cut at the true share of tumour.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from learning_check import mean_pixel_auroc
from result_rows import append_rows
from true_share import cut_at_share, mean_dice

from epsam.cam.postprocess import li_threshold
from epsam.cam.stain import (
    LATTICE,
    fit_stain_weights,
    stain_densities,
    stain_densities_and_textures,
    standardise,
)
from epsam.config.masks import MaskRule
from epsam.core.errors import DatasetError
from epsam.core.files import read_json, sha256_of
from epsam.core.records import code_version
from epsam.data.cam_store import CamMap, load_cams
from epsam.data.images import read_rgb
from epsam.data.patches import Patch, list_labelled_patches, select_positives
from epsam.paths import RunPaths
from epsam.segment.sam.frames import SamFrame
from epsam.segment.sam.models import load_sam
from epsam.segment.sam.specs import SPECS

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = (
    *("dataset", "run", "seed", "features", "regression", "fitted_to", "positives"),
    *("pixel_auroc", "dice", "true_share_dice", "revision", "command"),
)
SAM = "vit_demo"
BATCH_SIZE = 16
NO_OPENING = MaskRule(postprocess="li", open_kernel=0)
CELLS_PER_PATCH = 512
"""Of the 4,096 of each training patch, evenly spaced: what trees are fitted to."""

Batches = Sequence[tuple[Tensor, Tensor]]
"""Cells (B, K, 64, 64) of patches, K numbers each, and the maps (B, h, w) to predict from them."""
Predict = Callable[[Tensor], Tensor]
"""Cells (B, K, 64, 64) → maps (B, 64, 64)."""
Describe = Callable[[Sequence[Patch]], list[Tensor]]
"""Patches → their cells, by batches of `BATCH_SIZE`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", help="name of a run that has initial masks")
    parser.add_argument("--checkpoint_root", type=Path, default=ROOT / "checkpoints")
    parser.add_argument("--dataset_root", type=Path, default=ROOT / "dataset")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results")
    options = parser.parse_args()

    run = RunPaths(options.checkpoint_root / options.run)
    classifier = read_json(run.options)["train_classifier"]
    dataset = options.dataset_root / classifier["dataset_type"]
    train, val = (list_with_truth(dataset / split) for split in ("train", "val"))
    targets = {"CAM": load_base_maps(run, "train"), "ground truth": read_truth(train)}
    of_all = {
        "dataset": classifier["dataset_type"],
        "run": options.run,
        "seed": classifier["seed"],
        "revision": code_version()["git"][:7],
        "command": f"python benchmarks/map_regressions.py {options.run}",
    }

    trials = list_trials(ROOT / "checkpoints")
    for features, (describe, regressions) in trials.items():
        cells_of_train, cells_of_val = describe(train), describe(val)
        for target, maps in targets.items():
            batches = pair_with_maps(cells_of_train, train, maps)
            for name, fit in regressions.items():
                predicted = predict_maps(fit(batches), cells_of_val, val)
                row = {"features": features, "regression": name, "fitted_to": target}
                row |= of_all | score_maps(predicted, val)
                append_rows(options.results / "map_regressions.csv", COLUMNS, [row])
                print(json.dumps(row), flush=True)


def list_trials(weights: Path) -> dict[str, tuple[Describe, dict[str, Callable[..., Predict]]]]:
    """Features by name: how cells are described, and the regressions that are fitted to them."""
    ridge = {"ridge 1": partial(fit_ridge, ridge=1.0)}
    ridges = {f"ridge {value:g}": partial(fit_ridge, ridge=value) for value in (0.1, 0.3, 1, 3, 10)}
    densities = partial(describe_images, stain_densities)
    textures = partial(describe_images, stain_densities_and_textures)
    embedding = partial(describe_by_sam, weights / SPECS[SAM].file)
    return {
        "densities": (densities, ridge),
        "densities and texture": (textures, {**ridges, "boosted trees": fit_trees}),
        "embedding": (embedding, ridge),
        "densities, texture and embedding": (partial(describe_both, textures, embedding), ridge),
    }


def list_with_truth(folder: Path) -> list[Patch]:
    """The positives of a split that have ground truth. Raises DatasetError if there are none."""
    patches = [patch for patch in select_positives(list_labelled_patches(folder)) if patch.mask]
    if not patches:
        raise DatasetError(f"{folder}: no positive has a mask to compare with")
    return patches


def load_base_maps(run: RunPaths, split: str) -> Mapping[str, CamMap]:
    """The maps of a run before any refiner. Raises DatasetError if it has none."""
    path = run.base_cams(split)
    if not path.is_file():
        path = run.cams(split)
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; name a run that has initial masks")
    return load_cams(path, sha256_of(run.classifier)).maps


def read_truth(patches: Sequence[Patch]) -> dict[str, CamMap]:
    """The share of tumour in each cell, as a map (64, 64)."""
    maps = {}
    for patch in patches:
        pixels = torch.from_numpy(patch.ground_truth()).float()[None, None]
        maps[patch.name] = F.interpolate(pixels, (LATTICE, LATTICE), mode="area")[0, 0].numpy()
    return maps


def describe_images(
    describe_cells: Callable[[Tensor], Tensor], patches: Sequence[Patch]
) -> list[Tensor]:
    """Cells by one of stain regression's own features."""
    cells = []
    for batch in split_batches(patches):
        images = np.stack([read_rgb(patch.image) for patch in batch])
        cells.append(describe_cells(torch.from_numpy(images).permute(0, 3, 1, 2) / 255))
    return cells


@torch.no_grad()
def describe_by_sam(weights: Path, patches: Sequence[Patch]) -> list[Tensor]:
    """Cells by the embedding of the small SAM, which has a token for each 7 px of a 224 px patch:
    K = 256.
    """
    sam = load_sam(SAM, weights).eval()
    cells = []
    for batch in split_batches(patches):
        images = [read_rgb(patch.image) for patch in batch]
        frame = SamFrame(len(images[0]), SPECS[SAM].input_px)
        embedding = sam.image_encoder(torch.stack([frame.to_sam_image(image) for image in images]))
        size = (LATTICE, LATTICE)
        upsampled = F.interpolate(embedding, size, mode="bilinear", align_corners=False)
        cells.append(standardise(upsampled))
    return cells


def describe_both(first: Describe, second: Describe, patches: Sequence[Patch]) -> list[Tensor]:
    """Cells with the features of both."""
    pairs = zip(first(patches), second(patches), strict=True)
    return [torch.cat(pair, dim=1) for pair in pairs]


def split_batches(patches: Sequence[Patch]) -> list[Sequence[Patch]]:
    """The patches in their order, `BATCH_SIZE` at a time."""
    starts = range(0, len(patches), BATCH_SIZE)
    return [patches[start : start + BATCH_SIZE] for start in starts]


def pair_with_maps(
    cells: Sequence[Tensor], patches: Sequence[Patch], maps: Mapping[str, CamMap]
) -> Batches:
    """Each batch of cells with the maps of its patches."""
    paired = []
    for of_batch, batch in zip(cells, split_batches(patches), strict=True):
        stacked = np.stack([maps[patch.name] for patch in batch])
        paired.append((of_batch, torch.from_numpy(stacked)))
    return paired


def fit_ridge(batches: Batches, ridge: float) -> Predict:
    """Stain regression's fit, to cells that are described already."""
    weights = torch.tensor(fit_stain_weights(batches, ridge, lambda cells: cells))
    return lambda cells: torch.einsum("bkhw,k->bhw", cells, weights)


def fit_trees(batches: Batches) -> Predict:
    """Boosted trees of scikit-learn with its defaults, to differences of a map from its mean."""
    step = LATTICE**2 // CELLS_PER_PATCH
    features, targets = [], []
    for cells, maps in batches:
        size = (LATTICE, LATTICE)
        fine = F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False).flatten(1)
        centred = fine - fine.mean(dim=1, keepdim=True)
        features.append(list_cells(cells)[::step])
        targets.append(centred.flatten().numpy()[::step])
    trees = HistGradientBoostingRegressor(random_state=0)
    trees.fit(np.concatenate(features), np.concatenate(targets))

    def predict(cells: Tensor) -> Tensor:
        values = torch.from_numpy(trees.predict(list_cells(cells)))
        return values.float().view(len(cells), LATTICE, LATTICE)

    return predict


def list_cells(cells: Tensor) -> np.ndarray:
    """Cells (B, K, 64, 64) as rows (B · 64 · 64, K)."""
    return cells.flatten(2).transpose(1, 2).flatten(0, 1).numpy()


def predict_maps(
    predict: Predict, cells: Sequence[Tensor], patches: Sequence[Patch]
) -> dict[str, CamMap]:
    """The maps of patches, each scaled from 0 to 1 as stain regression scales its own."""
    maps = {}
    for of_batch, batch in zip(cells, split_batches(patches), strict=True):
        for patch, predicted in zip(batch, predict(of_batch).numpy(), strict=True):
            low, high = predicted.min(), predicted.max()
            maps[patch.name] = (predicted - low) / (high - low if high > low else 1)
    return maps


def score_maps(maps: Mapping[str, CamMap], patches: Sequence[Patch]) -> dict[str, Any]:
    """The figures of a row."""
    by_threshold, by_share = [], []
    for patch in patches:
        cam_map = maps[patch.name]
        by_threshold.append(li_threshold(cam_map, read_rgb(patch.image), NO_OPENING))
        by_share.append(cut_at_share(cam_map, patch.ground_truth()))
    return {
        "positives": len(patches),
        "pixel_auroc": f"{mean_pixel_auroc(maps, patches):.3f}",
        "dice": f"{mean_dice(by_threshold, patches):.3f}",
        "true_share_dice": f"{mean_dice(by_share, patches):.3f}",
    }


if __name__ == "__main__":
    main()
