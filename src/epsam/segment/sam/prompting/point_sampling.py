"""Sampling of points from a weight map, and their conversion to SAM's input.

Which weight map a prompt comes from is decided in `rules.py`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from epsam.segment.sam.frames import Points, SamFrame

PointPrompt = npt.NDArray[np.float32]
"""(N, 3): x and y in patch pixels, and SAM's label. A box is its first two rows: upper left, lower
right.
"""

NEGATIVE, POSITIVE, BOX_START, BOX_END, PADDING = 0, 1, 2, 3, -1
"""SAM's labels: outside, inside, a box's upper left and lower right corner, padding."""

Weights = npt.NDArray[Any]
"""(B, height, width), floating or bool: the relative probability of each pixel to be sampled."""


def label_points(points_xy_patch: Points, label: int) -> PointPrompt:
    """Points (N, 2) as a prompt (N, 3) in which all of them carry one label."""
    labels = np.full((len(points_xy_patch), 1), label, np.float32)
    return np.concatenate([points_xy_patch, labels], axis=1)


def sample_points(
    weights: Weights, count: int, rngs: Sequence[np.random.Generator]
) -> list[Points]:
    """Sample up to `count` different pixels of each image with probability ∝ weight.

    weights (B, height, width), not negative; rngs: a generator for each image. Returns for each
    image (N, 2) float32 as (x, y) in the patch's pixels with N = min(count, pixels of positive
    weight): an all-zero weight gives no points, never a point at (0, 0). All images are sampled at
    once; the points of one do not depend on the others.
    """
    remaining = weights.copy()
    targets = np.minimum(np.count_nonzero(remaining > 0, axis=(1, 2)), count)
    points_xy = np.zeros((len(remaining), count, 2), dtype=np.float32)
    sampled = np.zeros_like(targets)

    while (sampled < targets).any():
        uniforms = _sample_uniforms(rngs, targets - sampled)
        rows, columns = _invert_cumulative(remaining, uniforms)
        is_new = ~np.isnan(uniforms) & _first_occurrences(rows * remaining.shape[2] + columns)

        images = np.nonzero(is_new)[0]
        slots = (sampled[:, None] + np.cumsum(is_new, axis=1) - 1)[is_new]
        points_xy[images, slots] = np.stack([columns[is_new], rows[is_new]], axis=1)

        # A pixel that came up twice is replaced in the next round, from the pixels that are left.
        remaining[images, rows[is_new], columns[is_new]] = 0
        sampled += is_new.sum(axis=1)
    return [points[:number] for points, number in zip(points_xy, targets.tolist(), strict=True)]


def _sample_uniforms(
    rngs: Sequence[np.random.Generator], counts: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """(B, largest count) numbers in 0..1, padded with nan."""
    uniforms = np.full((len(rngs), int(counts.max())), np.nan)
    # The only loop over images, since each has a generator of its own: a patch's points must not
    # depend on which patches share its batch.
    for row, rng, count in zip(uniforms, rngs, counts.tolist(), strict=True):
        row[:count] = rng.random(count)
    return uniforms


def _invert_cumulative(
    weights: Weights, uniforms: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns (B, n) of the pixels where the cumulative weight, row by row, passes a
    fraction (B, n) of the total.
    """
    # First the image row and then the column in it: this spares a running sum over all pixels.
    row_sums = np.cumsum(weights.sum(axis=2, dtype=np.float64), axis=1)
    totals = row_sums[:, -1:]
    # Rounding may give the total itself, which no pixel passes; hence the number just below it.
    thresholds = np.minimum(uniforms * totals, np.nextafter(totals, 0))
    rows = (row_sums[:, None] <= thresholds[:, :, None]).sum(axis=2)

    images = np.arange(len(weights))[:, None]
    sums_above = np.where(rows > 0, row_sums[images, rows - 1], 0)
    column_sums = np.cumsum(weights[images, rows], axis=2, dtype=np.float64)
    in_row = np.minimum(thresholds - sums_above, np.nextafter(column_sums[:, :, -1], 0))
    columns = (column_sums <= in_row[:, :, None]).sum(axis=2)
    return rows, columns


def _first_occurrences(numbers: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """True where a number (B, n) occurs for the first time in its row."""
    order = np.argsort(numbers, axis=1, kind="stable")
    ordered = np.take_along_axis(numbers, order, axis=1)
    is_first = np.ones_like(numbers, dtype=bool)
    np.put_along_axis(is_first, order[:, 1:], ordered[:, 1:] != ordered[:, :-1], axis=1)
    return is_first


def collate_points(
    prompts: Sequence[PointPrompt], frame: SamFrame, count: int
) -> tuple[Tensor, Tensor]:
    """Point prompts of several images as SAM's input: coordinates (B, n, 2) in SAM's pixels and
    labels (B, n).

    n is `count`, or more if a prompt is longer. A shorter one is padded with SAM's padding label,
    so that a batch is one tensor.
    """
    lengths = np.array([len(prompt) for prompt in prompts])
    is_point = np.arange(max(count, lengths.max())) < lengths[:, None]
    coordinates = np.zeros((*is_point.shape, 2), dtype=np.float32)
    labels = np.full(is_point.shape, PADDING, dtype=np.int64)

    rows = np.concatenate(prompts)
    coordinates[is_point] = frame.to_sam_points(rows[:, :2])
    labels[is_point] = rows[:, 2]
    return torch.from_numpy(coordinates), torch.from_numpy(labels)
