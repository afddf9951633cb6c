"""Point prompts: drawn from a mask while training, by activation (PEPM, paper 3.3.1 Eq. 4) everywhere else."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from epsam.data.images import Mask
from epsam.sam.frames import Points, SamFrame

POSITIVE, PADDING = 1, -1
"""SAM's point labels."""


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


def prompt_batch(points_xy_patch: Sequence[Points], frame: SamFrame, count: int) -> tuple[Tensor, Tensor]:
    """Points of several images as SAM's input: coordinates (B, count, 2) in SAM's pixels, labels (B, count).

    An image with fewer points is filled up with SAM's padding label, so that a batch is one tensor.
    """
    coordinates = torch.zeros(len(points_xy_patch), count, 2)
    labels = torch.full((len(points_xy_patch), count), PADDING, dtype=torch.int64)
    for index, points in enumerate(points_xy_patch):
        coordinates[index, : len(points)] = torch.from_numpy(frame.points(points))
        labels[index, : len(points)] = POSITIVE
    return coordinates, labels
