"""Quantile and opening kernel by search over a grid, judged by Dice on validation truth (paper
4.3).
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from epsam.cam.postprocess import threshold_and_open
from epsam.config.masks import MaskOptions
from epsam.core.errors import DatasetError
from epsam.core.files import write_table
from epsam.data.cam_store import CamStore
from epsam.data.images import write_rgb
from epsam.data.patches import Patch
from epsam.metrics import count_pixels, macro_dice_iou
from epsam.pictures.heat_map import draw_heat_map
from epsam.tables import GRID_SEARCH_COLUMNS


def search_grid(
    activations: CamStore, patches: Sequence[Patch], options: MaskOptions
) -> list[dict[str, Any]]:
    """A row for each pair of the grid, with the mean Dice and IoU of its masks over the patches
    that have a truth.

    Raises DatasetError if none has, or if the post-processing has neither quantile nor kernel.
    """
    require_grid(options)
    known = require_ground_truth(patches)
    pairs = list(itertools.product(options.grid_quantiles, options.grid_kernels))
    overlaps: dict[tuple[float, int], list[Any]] = {pair: [] for pair in pairs}
    for patch in known:
        truth, cam_map = patch.ground_truth(), activations.maps[patch.name]
        height, width = truth.shape
        for quantile, kernel in pairs:
            mask = threshold_and_open(cam_map, height, width, quantile, kernel, options.open_at)
            overlaps[quantile, kernel].append(count_pixels(mask, truth))
    scores = {pair: macro_dice_iou(found) for pair, found in overlaps.items()}
    return [
        {
            "quantile": quantile,
            "open_kernel": kernel,
            "open_at": options.open_at,
            "patches": len(known),
            "dice": dice,
            "iou": iou,
        }
        for (quantile, kernel), (dice, iou) in scores.items()
    ]


def require_grid(options: MaskOptions) -> None:
    """Raise DatasetError if the post-processing has neither quantile nor kernel."""
    if options.postprocess != "quantile_opening":
        raise DatasetError(
            f"--grid_search: --postprocess {options.postprocess} has neither quantile nor kernel; "
            "leave one of the two flags out"
        )


def require_ground_truth(patches: Sequence[Patch]) -> list[Patch]:
    """The validation patches that have a true mask; raises DatasetError if none has."""
    known = [patch for patch in patches if patch.mask is not None]
    if not known:
        raise DatasetError(
            "--grid_search: no validation patch has a true mask to search with; give val/mask, or set "
            "--quantile and --open_kernel"
        )
    return known


def select_best(rows: Sequence[dict[str, Any]]) -> tuple[float, int]:
    """Quantile and kernel of the highest Dice; of equals, the first."""
    best = max(rows, key=lambda row: float(row["dice"]))
    return best["quantile"], best["open_kernel"]


def write_grid(table: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the whole grid as `table` and as a picture of the same name beside it."""
    write_table(
        table,
        GRID_SEARCH_COLUMNS,
        [{**row, "dice": f"{row['dice']:.6f}", "iou": f"{row['iou']:.6f}"} for row in rows],
    )
    quantiles, kernels = (
        sorted({row[name] for row in rows}) for name in ("quantile", "open_kernel")
    )
    dice = {(row["quantile"], row["open_kernel"]): row["dice"] for row in rows}
    values = np.array([[dice[quantile, kernel] for quantile in quantiles] for kernel in kernels])
    title = f"Dice on validation, {rows[0]['patches']} patches, opening at {rows[0]['open_at']}"
    write_rgb(
        table.with_suffix(".png"),
        draw_heat_map(
            values,
            [f"{k}" for k in kernels],
            [f"{q:g}" for q in quantiles],
            title,
            "kernel",
            "quantile",
        ),
    )
