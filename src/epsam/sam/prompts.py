"""Prompts as arrays, how points are drawn, and how a batch of prompts becomes SAM's input."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from epsam.data.images import Mask
from epsam.sam.frames import Points, SamFrame

Prompt = npt.NDArray[np.float32]
"""(N, 3): x and y in patch pixels, and what stands there. A box is its first two rows: upper left, lower right."""

NEGATIVE, POSITIVE, BOX_START, BOX_END, PADDING = 0, 1, 2, 3, -1
"""SAM's labels: outside, inside, a box's upper left and lower right corner, nothing."""


def labelled(points_xy_patch: Points, label: int) -> Prompt:
    """Points (N, 2) as a prompt (N, 3) in which all of them carry one label."""
    return np.concatenate([points_xy_patch, np.full((len(points_xy_patch), 1), label, np.float32)], axis=1)


def sample_points(weight: npt.NDArray[np.floating], count: int, rng: np.random.Generator) -> Points:
    """Up to `count` different pixels, drawn without replacement with probability ∝ weight.

    weight (height, width), not negative. Returns (N, 2) float32 as (x, y) in the patch's pixels with
    N = min(count, pixels of positive weight): an all-zero weight gives no points, never a point at (0, 0).
    """
    flat = weight.ravel().astype(np.float64)
    support = np.flatnonzero(flat > 0)
    if not support.size:
        return np.zeros((0, 2), dtype=np.float32)
    mass = flat[support]
    chosen = rng.choice(support, size=min(count, support.size), replace=False, p=mass / mass.sum())
    rows, columns = np.divmod(chosen, weight.shape[1])
    return np.stack([columns, rows], axis=1).astype(np.float32)


def mask_points(mask: Mask, count: int, rng: np.random.Generator) -> Points:
    """Points drawn uniformly from a mask, as training uses them (methods D2)."""
    return sample_points(mask.astype(np.float64), count, rng)


def pepm_points(activation: npt.NDArray[np.floating], mask: Mask, count: int, rng: np.random.Generator) -> Points:
    """PEPM: points inside the initial mask with probability ∝ activation (paper Eq. 4, methods D5).

    activation (height, width) in 0..1 and mask (height, width), both in the patch's frame.
    """
    return sample_points(np.where(mask, activation, 0.0), count, rng)


def prompt_batch(prompts: Sequence[Prompt], frame: SamFrame, count: int) -> tuple[Tensor, Tensor]:
    """Prompts of several images as SAM's input: coordinates (B, n, 2) in SAM's pixels, labels (B, n).

    n is `count`, or more if a prompt is longer. A shorter one is filled up with SAM's padding label, so that a batch
    is one tensor.
    """
    width = max(count, *(len(prompt) for prompt in prompts))
    coordinates = torch.zeros(len(prompts), width, 2)
    labels = torch.full((len(prompts), width), PADDING, dtype=torch.int64)
    for index, prompt in enumerate(prompts):
        coordinates[index, : len(prompt)] = torch.from_numpy(frame.points(prompt[:, :2]))
        labels[index, : len(prompt)] = torch.from_numpy(prompt[:, 2]).long()
    return coordinates, labels
