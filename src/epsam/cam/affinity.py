"""Affinity of the cells of a lattice, and the random walk of maps along it (WeakMedSAM, PAM).

A cell is joined to the cells nearer than a radius, so affinities are a stencil (B, K, rows,
columns): one value for each offset and cell it starts from. The whole matrix of 64 × 64 cells would
take 67 MB an image.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

Offset = tuple[int, int]
"""(rows down, columns right) from a cell to its neighbour."""


def lattice_offsets(radius: int) -> list[Offset]:
    """The offsets that are shorter than `radius`, that of the cell itself included."""
    reach = range(1 - radius, radius)
    offsets = []
    for down in reach:
        for right in reach:
            if down**2 + right**2 < radius**2:
                offsets.append((down, right))
    return offsets


def transition_probabilities(features: Tensor, offsets: Sequence[Offset], beta: float) -> Tensor:
    """Row-stochastic affinities (B, K, rows, columns) of features (B, C, rows, columns): that from
    a cell to its K neighbours sum to 1.

    The affinity of two cells is exp(−β · mean over C of the difference of their features); that to
    a neighbour outside of the lattice is 0.
    """
    batch, _, rows, columns = features.shape
    affinities = features.new_zeros(batch, len(offsets), rows, columns)
    for number, (start, end) in enumerate(_joined_cells(offsets, rows, columns)):
        difference = (features[start] - features[end]).abs().mean(dim=1)
        affinities[:, number][start] = torch.exp(-beta * difference)
    # Row-stochastic, so that a step is an average of neighbours; the released code normalises the
    # columns and multiplies from the other side (docs/deviations.md, "Random walk of PAM").
    return affinities / affinities.sum(dim=1, keepdim=True)


def random_walk(maps: Tensor, transitions: Tensor, offsets: Sequence[Offset], steps: int) -> Tensor:
    """Maps (B, rows, columns) after `steps` steps of `transition_probabilities`: each replaces a
    cell by the mean of its neighbours, weighted by the transitions.
    """
    rows, columns = maps.shape[-2:]
    joined = list(_joined_cells(offsets, rows, columns))
    for _ in range(steps):
        means = torch.zeros_like(maps)
        for number, (start, end) in enumerate(joined):
            means[start] += transitions[:, number][start] * maps[end]
        maps = means
    return maps


def _joined_cells(offsets: Sequence[Offset], rows: int, columns: int) -> Iterator[tuple[Any, Any]]:
    """For each offset, indices of the cells that it starts from, and of those where it ends, in
    arrays (…, rows, columns).
    """
    for down, right in offsets:
        start = (..., _inside(down, rows), _inside(right, columns))
        end = (..., _inside(-down, rows), _inside(-right, columns))
        yield start, end


def _inside(offset: int, length: int) -> slice:
    """The positions from which an offset stays within `length`."""
    return slice(min(max(-offset, 0), length), max(min(length - offset, length), 0))
