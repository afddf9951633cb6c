"""Quantile and opening kernel by search over a grid, judged by Dice on validation's ground truth
(paper 4.3); `evidence_search.py` judges by patch labels alone.
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from epsam.cam.postprocess import threshold_and_open
from epsam.config.masks import MaskOptions
from epsam.core.errors import DatasetError
from epsam.core.files import write_table
from epsam.data.cam_store import CamMap, CamStore
from epsam.data.holes import fill_mask_holes
from epsam.data.images import Mask, write_rgb
from epsam.data.patches import Patch
from epsam.metrics import PixelCounts, count_pixels, macro_dice_iou
from epsam.pictures.heat_map import draw_heat_map
from epsam.tables import GRID_SEARCH_COLUMNS

_METRICS = {"dice": "Dice", "iou": "IoU", "evidence": "Evidence minus area"}
"""Columns of numbers in the grid, and what the heat map calls them."""


def cut_at(
    quantile: float, kernel: int, cam: CamMap, size: tuple[int, int], options: MaskOptions
) -> Mask:
    """The mask (height, width) = size of a CAM with a quantile and kernel of the grid, all else as
    in the options.
    """
    mask = threshold_and_open(cam, *size, quantile, kernel, options.open_at)
    return fill_mask_holes(mask) if options.fill_holes else mask


def search_grid(
    cams: CamStore, patches: Sequence[Patch], options: MaskOptions
) -> list[dict[str, Any]]:
    """A row for each pair of the grid, with the mean Dice and IoU of its masks over the patches
    that have a ground truth.

    Raises DatasetError if none has, or if the post-processing cuts at no quantile.
    """
    require_grid(options)
    scored_patches = require_ground_truth(patches)
    pairs = list(itertools.product(options.grid_quantiles, options.grid_kernels))
    overlaps: dict[tuple[float, int], list[PixelCounts]] = defaultdict(list)

    # Patches in the outer loop: each ground truth is read once.
    for patch in scored_patches:
        ground_truth = patch.ground_truth()
        cam = cams.maps[patch.name]
        height, width = ground_truth.shape
        for quantile, kernel in pairs:
            mask = cut_at(quantile, kernel, cam, (height, width), options)
            overlaps[quantile, kernel].append(count_pixels(mask, ground_truth))

    rows = []
    for (quantile, kernel), of_pair in overlaps.items():
        dice, iou = macro_dice_iou(of_pair)
        row = {
            "quantile": quantile,
            "open_kernel": kernel,
            "open_at": options.open_at,
            "patches": len(scored_patches),
            "dice": dice,
            "iou": iou,
        }
        rows.append(row)
    return rows


def require_grid(options: MaskOptions) -> None:
    """Raise DatasetError if the post-processing cuts at no quantile."""
    if options.postprocess != "quantile_opening":
        raise DatasetError(
            f"--grid_search: --postprocess {options.postprocess} cuts at no quantile; "
            "leave one of the two flags out"
        )


def require_ground_truth(patches: Sequence[Patch]) -> list[Patch]:
    """The validation patches that have a ground-truth mask; raises DatasetError if none has."""
    scored_patches = [patch for patch in patches if patch.mask is not None]
    if not scored_patches:
        raise DatasetError(
            "--grid_search: no validation patch has a ground-truth mask to search with; "
            "give val/mask, or set --quantile and --open_kernel"
        )
    return scored_patches


def require_labels(positives: Sequence[Patch], negatives: Sequence[Patch]) -> None:
    """Raise DatasetError unless there are patches with and without tumour."""
    if not positives or not negatives:
        raise DatasetError(
            f"--grid_by labels: validation has {len(positives)} patches with tumour and "
            f"{len(negatives)} without; it needs both, or set --quantile and --open_kernel"
        )


def select_best(rows: Sequence[dict[str, Any]], metric: str = "dice") -> tuple[float, int]:
    """Quantile and kernel of the highest Dice, or of another metric; of equals, the first."""
    best = max(rows, key=lambda row: float(row[metric]))
    return best["quantile"], best["open_kernel"]


def write_grid(table: Path, rows: Sequence[dict[str, Any]], metric: str = "dice") -> None:
    """Write the whole grid as `table`, and as a heat map of a metric of the same name beside it."""
    formatted = []
    for row in rows:
        numbers = {name: f"{row[name]:.6f}" for name in _METRICS if name in row}
        formatted.append({**row, **numbers})
    # Without ground truth, Dice and IoU stay empty.
    columns = GRID_SEARCH_COLUMNS if metric == "dice" else (*GRID_SEARCH_COLUMNS, metric)
    write_table(table, columns, formatted)

    # Sorted axes, whatever the order of the flags.
    quantiles = sorted({row["quantile"] for row in rows})
    kernels = sorted({row["open_kernel"] for row in rows})
    values = np.zeros((len(kernels), len(quantiles)))
    for row in rows:
        values[kernels.index(row["open_kernel"]), quantiles.index(row["quantile"])] = row[metric]

    title = f"{_METRICS[metric]} on validation, {rows[0]['patches']} patches"
    heat_map = draw_heat_map(
        values,
        list(map(str, kernels)),
        [f"{quantile:g}" for quantile in quantiles],
        f"{title}, opening at {rows[0]['open_at']}",
        "kernel",
        "quantile",
    )
    write_rgb(table.with_suffix(".png"), heat_map)
