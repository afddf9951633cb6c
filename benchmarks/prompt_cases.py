"""Sampling of prompt points at the paper's patch size."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from measure import Comparison, check_close, in_turns

from epsam.core.seeding import generator
from epsam.segment.sam.prompting.point_sampling import sample_points

PATCH_PX, POINTS, PATCHES = 512, 50, 8


def prompt_sampling(_: str) -> Comparison:
    """50 points of each of 8 CAMs: numpy's own sampling image by image, against one batch.

    Both use the same random numbers. Raises ValueError if they do not sample the same points.
    """
    cams = np.random.default_rng(0).random((PATCHES, PATCH_PX, PATCH_PX), dtype=np.float32)
    cams[:, : PATCH_PX // 4] = 0

    def one_by_one() -> list[Any]:
        return [_sample_with_numpy(cam, generator(0, number)) for number, cam in enumerate(cams)]

    def in_a_batch() -> list[Any]:
        return sample_points(cams, POINTS, [generator(0, number) for number in range(PATCHES)])

    check_close(
        "prompt_sampling",
        torch.from_numpy(np.stack(one_by_one())),
        torch.from_numpy(np.stack(in_a_batch())),
        tolerance=0,
    )
    plain, ours = in_turns(one_by_one, in_a_batch, "cpu")
    return Comparison(
        "one by one",
        plain / PATCHES,
        "in a batch",
        ours / PATCHES,
        1.0,
        "s an image",
        f"{POINTS} points of {PATCH_PX} px",
    )


def _sample_with_numpy(
    weight: npt.NDArray[np.float32], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Up to 50 different pixels (N, 2) as (x, y) with probability ∝ weight (height, width)."""
    flat = weight.ravel().astype(np.float64)
    support = np.flatnonzero(flat)
    pixels = rng.choice(
        support, min(POINTS, support.size), replace=False, p=flat[support] / flat[support].sum()
    )
    rows, columns = np.divmod(pixels, weight.shape[1])
    return np.stack([columns, rows], axis=1).astype(np.float32)
