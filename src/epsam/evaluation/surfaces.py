"""Distances between the borders of two masks: ASSD and the Hausdorff distance's 95th percentile."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from epsam.data.images import Mask

HAUSDORFF_PERCENTILE = 95


@dataclass(frozen=True)
class SurfaceDistances:
    """Of one prediction beside its ground truth, px.

    assd: the mean over the pixels of both borders of the distance to the other border. hd95: the
    95th percentile of the same distances.
    """

    assd: float
    hd95: float


def measure_surfaces(predicted: Mask, target: Mask) -> SurfaceDistances | None:
    """The distances of two masks (height, width); None if one of them is empty."""
    if not predicted.any() or not target.any():
        return None
    # Only here, so that what reads no masks does without it.
    from scipy.spatial import KDTree

    first, second = find_border(predicted), find_border(target)
    there, _ = KDTree(second).query(first)
    back, _ = KDTree(first).query(second)
    distances = np.concatenate([there, back])
    return SurfaceDistances(
        float(distances.mean()), float(np.percentile(distances, HAUSDORFF_PERCENTILE))
    )


def find_border(mask: Mask) -> npt.NDArray[np.int64]:
    """The (row, column) of each pixel of a mask one of whose four neighbours is not in it; beyond
    the image nothing is.
    """
    padded = np.pad(mask, 1)
    above, below = padded[:-2, 1:-1], padded[2:, 1:-1]
    left, right = padded[1:-1, :-2], padded[1:-1, 2:]
    return np.argwhere(mask & ~(above & below & left & right))
