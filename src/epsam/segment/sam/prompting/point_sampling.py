"""Prompts as arrays, how points are drawn, and how a batch of prompts becomes SAM's input."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from epsam.segment.sam.frames import Points, SamFrame

PointPrompt = npt.NDArray[np.float32]
"""(N, 3): x and y in patch pixels, and what stands there. A box is its first two rows: upper left,
lower right.
"""

NEGATIVE, POSITIVE, BOX_START, BOX_END, PADDING = 0, 1, 2, 3, -1
"""SAM's labels: outside, inside, a box's upper left and lower right corner, nothing."""

Weights = npt.NDArray[Any]
"""(B, height, width), floating or bool: how likely each pixel is to be drawn."""


def label_points(points_xy_patch: Points, label: int) -> PointPrompt:
    """Points (N, 2) as a prompt (N, 3) in which all of them carry one label."""
    return np.concatenate(
        [points_xy_patch, np.full((len(points_xy_patch), 1), label, np.float32)], axis=1
    )


def sample_points(
    weights: Weights, count: int, rngs: Sequence[np.random.Generator]
) -> list[Points]:
    """Up to `count` different pixels of each image, drawn without replacement with probability ∝
    weight.

    weights (B, height, width), not negative; a generator for each image. Returns for each (N, 2)
    float32 as (x, y) in the patch's pixels with N = min(count, pixels of positive weight): an
    all-zero weight gives no points, never a point at (0, 0). All images are drawn for at once; what
    is drawn for one does not depend on the others.
    """
    mass = weights.copy()
    wanted = np.minimum(np.count_nonzero(mass > 0, axis=(1, 2)), count)
    drawn = np.zeros((len(mass), count, 2), dtype=np.float32)
    held = np.zeros_like(wanted)
    while (held < wanted).any():
        uniforms = _uniforms(rngs, wanted - held)
        rows, columns = _pixels_at(mass, uniforms)
        new = ~np.isnan(uniforms) & _first_of_each(rows * mass.shape[2] + columns)
        images = np.nonzero(new)[0]
        places = (held[:, None] + np.cumsum(new, axis=1) - 1)[new]
        drawn[images, places] = np.stack([columns[new], rows[new]], axis=1)
        # Pixels that came up twice are made up for by further draws from what is left.
        mass[images, rows[new], columns[new]] = 0
        held += new.sum(axis=1)
    return [points[:number] for points, number in zip(drawn, wanted.tolist(), strict=True)]


def _uniforms(
    rngs: Sequence[np.random.Generator], counts: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """(B, largest count) numbers in 0..1, filled up with nan. The only loop over images: each has
    its own generator.
    """
    found = np.full((len(rngs), int(counts.max())), np.nan)
    for line, rng, count in zip(found, rngs, counts.tolist(), strict=True):
        line[:count] = rng.random(count)
    return found


def _pixels_at(
    mass: Weights, uniforms: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns (B, n) where the sum of `mass` (B, height, width), read line by line, passes
    a share of it.

    The line is found first and then the place in it, which spares the running sum over all pixels.
    """
    sums = np.cumsum(mass.sum(axis=2, dtype=np.float64), axis=1)
    goal = np.minimum(uniforms * sums[:, -1:], np.nextafter(sums[:, -1:], 0))
    rows = (sums[:, None] <= goal[:, :, None]).sum(axis=2)
    images = np.arange(len(mass))[:, None]
    before = np.where(rows > 0, sums[images, rows - 1], 0)
    within = np.cumsum(mass[images, rows], axis=2, dtype=np.float64)
    rest = np.minimum(goal - before, np.nextafter(within[:, :, -1], 0))
    return rows, (within <= rest[:, :, None]).sum(axis=2)


def _first_of_each(numbers: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """True where a number (B, n) stands for the first time in its line."""
    order = np.argsort(numbers, axis=1, kind="stable")
    ranked = np.take_along_axis(numbers, order, axis=1)
    first = np.ones_like(numbers, dtype=bool)
    np.put_along_axis(first, order[:, 1:], ranked[:, 1:] != ranked[:, :-1], axis=1)
    return first


def prompt_batch(
    prompts: Sequence[PointPrompt], frame: SamFrame, count: int
) -> tuple[Tensor, Tensor]:
    """Prompts of several images as SAM's input: coordinates (B, n, 2) in SAM's pixels, labels (B,
    n).

    n is `count`, or more if a prompt is longer. A shorter one is filled up with SAM's padding
    label, so that a batch is one tensor.
    """
    lengths = np.array([len(prompt) for prompt in prompts])
    filled = np.arange(max(count, lengths.max())) < lengths[:, None]
    rows = np.concatenate(prompts)
    coordinates = np.zeros((*filled.shape, 2), dtype=np.float32)
    labels = np.full(filled.shape, PADDING, dtype=np.int64)
    coordinates[filled], labels[filled] = frame.points(rows[:, :2]), rows[:, 2]
    return torch.from_numpy(coordinates), torch.from_numpy(labels)
