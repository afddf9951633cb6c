"""Stain regression: maps as what the stain around each pixel tells of the CAM. All of it is this
project's (docs/beyond_the_paper.md, "Stain regression").

A CAM is coarse, and may lie on the stroma beside a gland as much as on the gland. Over all training
patches, though, it is higher where nuclei are dense. A ridge regression learns that from the CAMs,
never from true masks; its prediction is as fine as the stain. With texture, it also sees how much
the stain varies around a cell.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from epsam.cam.average_refiner import AverageRefiner
from epsam.config.masks import MaskRule
from epsam.core.errors import EpsamError

LATTICE = 64
"""Cells of a side of the lattice on which stain and maps are compared."""
BLURS = (0, 1, 2)
"""Standard deviations of the blurs at which the stain of a cell is seen, in cells."""
BLACK, WHITE = 8.0, 255.0
"""Values of 0–255: no density is infinite, and glass has none."""
LEAST_DEVIATION = 0.01
"""Of densities in a patch: what varies less is noise, and is not scaled up."""

DescribeCells = Callable[[Tensor], Tensor]
"""RGB images (B, 3, H, H) in 0..1 → K numbers on each cell, (B, K, 64, 64) float32, each with mean
0 and deviation 1 in its image.
"""


@dataclass(frozen=True)
class StainRegression(AverageRefiner):
    """The rows `stain` and `stain_texture`: the CAM as a linear function of the stain around each
    cell.

    It is a `FittedRefiner`: weights that the rule does not hold yet are fitted to averages over
    rotations.
    """

    describe_cells: DescribeCells

    @property
    def is_fitted(self) -> bool:
        """See `FittedRefiner`."""
        return bool(self.rule.stain_weights)

    def fit(self, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Any]:
        """See `FittedRefiner`."""
        weights = fit_stain_weights(batches, self.rule.stain_ridge, self.describe_cells)
        return {"stain_weights": weights}

    @torch.no_grad()
    def improve(self, images: Tensor, maps: Tensor) -> Tensor:
        """See `StagedRefiner`: maps (B, 64, 64) float32, each from 0 to 1; a CAM of zeros stays a
        map of zeros.

        Raises EpsamError if the weights are not fitted.
        """
        with torch.autocast(device_type=images.device.type, enabled=False):
            cells = self.describe_cells(images)
            weights = torch.tensor(self.rule.stain_weights, device=images.device)
            self._require_weights(cells.shape[1])
            predicted = torch.einsum("bkhw,k->bhw", cells, weights)
            low = predicted.amin(dim=(-2, -1), keepdim=True)
            span = predicted.amax(dim=(-2, -1), keepdim=True) - low
            scaled = (predicted - low) / torch.where(span > 0, span, 1.0)
            has_evidence = maps.amax(dim=(-2, -1), keepdim=True) > 0
            return torch.where(has_evidence, scaled, 0.0)

    def _require_weights(self, n_features: int) -> None:
        n_weights = len(self.rule.stain_weights)
        if n_weights != n_features:
            raise EpsamError(
                f"--refine {self.rule.refine}: {n_weights} weights where {n_features} are needed; "
                "leave --stain_weights out, and generate_initial_masks.py fits them"
            )


def refine_by_stain(rule: MaskRule) -> StainRegression:
    """The row `stain` of `MAP_REFINERS`."""
    return StainRegression(rule, stain_densities)


def refine_by_stain_texture(rule: MaskRule) -> StainRegression:
    """The row `stain_texture` of `MAP_REFINERS`."""
    return StainRegression(rule, stain_densities_and_textures)


def fit_stain_weights(
    batches: Iterable[tuple[Tensor, Tensor]], ridge: float, describe_cells: DescribeCells
) -> tuple[float, ...]:
    """The weights of the features of a cell that predict maps (B, h, w) of images (B, 3, H, H)
    best, over all cells of all batches, with a ridge in units of a density's variance.

    Each map counts by its differences from its mean: how high a map is as a whole says nothing of
    where the tumour lies in it. Raises EpsamError if there are no images.
    """
    covariance: Any = 0.0
    with_maps: Any = 0.0
    n_images = 0
    for images, maps in batches:
        with torch.autocast(device_type=images.device.type, enabled=False):
            features = describe_cells(images).double().flatten(2)
            cells = F.interpolate(
                maps.float()[:, None], (LATTICE, LATTICE), mode="bilinear", align_corners=False
            )
        centred = cells.double().flatten(1)
        centred = centred - centred.mean(dim=1, keepdim=True)
        covariance = covariance + torch.einsum("bkn,bln->kl", features, features).cpu().numpy()
        with_maps = with_maps + torch.einsum("bkn,bn->k", features, centred).cpu().numpy()
        n_images += len(images)

    if not n_images:
        raise EpsamError(
            "--refine: stain regression finds no training patch with tumour to fit its weights to; "
            "add some, or give --stain_weights"
        )
    n_cells = n_images * LATTICE**2
    penalised = covariance / n_cells + ridge * np.eye(len(with_maps))
    weights: list[float] = np.linalg.solve(penalised, with_maps / n_cells).tolist()
    return tuple(weights)


def stain_densities(images: Tensor) -> Tensor:
    """Optical densities of red, green and blue, blurred by `BLURS`: `DescribeCells` with K = 9."""
    cells = average_in_cells(optical_density(images))
    blurred = [blur(cells, deviation) for deviation in BLURS]
    return standardise(torch.cat(blurred, dim=1))


def stain_densities_and_textures(images: Tensor) -> Tensor:
    """The densities, and how much each of them varies: its standard deviation between the pixels
    of the cell, and of the cells that a blur takes in. `DescribeCells` with K = 18.
    """
    density = optical_density(images)
    cells, squares = average_in_cells(density), average_in_cells(density.square())
    deviations = []
    for reach in BLURS:
        variance = blur(squares, reach) - blur(cells, reach).square()
        # Rounding may leave the variance of a flat region below 0.
        deviations.append(variance.clamp(min=0).sqrt())
    textures = standardise(torch.cat(deviations, dim=1))
    return torch.cat([stain_densities(images), textures], dim=1)


def optical_density(images: Tensor) -> Tensor:
    """Of each pixel of RGB images (B, 3, H, H) in 0..1; by Beer and Lambert, it is proportional to
    the amount of stain.
    """
    return -torch.log((images.float() * WHITE + BLACK) / (WHITE + BLACK))


def average_in_cells(pixels: Tensor) -> Tensor:
    """The mean of (B, C, H, H) in each cell of the lattice: (B, C, 64, 64)."""
    return F.interpolate(pixels, (LATTICE, LATTICE), mode="area")


def standardise(cells: Tensor) -> Tensor:
    """Cells (B, K, h, w) with mean 0 and deviation 1 in each image."""
    centred = cells - cells.mean(dim=(-2, -1), keepdim=True)
    deviation = centred.square().mean(dim=(-2, -1), keepdim=True).sqrt()
    return centred / deviation.clamp(min=LEAST_DEVIATION)


def blur(cells: Tensor, deviation: float) -> Tensor:
    """Cells (B, C, h, w), blurred by a Gaussian of this standard deviation, in cells; borders are
    mirrored.
    """
    if not deviation:
        return cells
    reach = math.ceil(3 * deviation)
    offsets = torch.arange(-reach, reach + 1, device=cells.device, dtype=cells.dtype)
    kernel = torch.exp(-offsets.square() / (2 * deviation**2))
    kernel = kernel / kernel.sum()

    rows = F.pad(cells.flatten(0, 1)[:, None], (reach, reach, reach, reach), mode="reflect")
    rows = F.conv2d(rows, kernel[None, None, :, None])
    columns = F.conv2d(rows, kernel[None, None, None, :])
    return columns.view(cells.shape)
