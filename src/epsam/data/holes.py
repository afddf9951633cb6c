"""Holes: background that tumour encloses.

Tumour is often outlined by its outer border alone, so that the ground truth has no holes, while a
map or a decoder leaves out the lumen of a gland or the stroma between glands
(docs/beyond_the_paper.md, "Holes").
"""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_fill_holes
from skimage.morphology import reconstruction

from epsam.data.images import Mask

_NEIGHBOURS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=np.bool_)
"""A way out of a hole goes through sides, not through corners."""


def fill_mask_holes(mask: Mask) -> Mask:
    """The mask (height, width) with all background from which no way leads to its border."""
    return np.asarray(binary_fill_holes(mask, _NEIGHBOURS), dtype=np.bool_)


def fill_probability_holes(probability: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities (height, width), each raised to the highest value that every way to the border
    has to cross.

    So no threshold's mask has a hole, and each is the mask of the same threshold before with its
    holes filled.
    """
    flooded = np.full_like(probability, probability.max())
    flooded[[0, -1], :] = probability[[0, -1], :]
    flooded[:, [0, -1]] = probability[:, [0, -1]]
    filled = reconstruction(flooded, probability, method="erosion", footprint=_NEIGHBOURS)
    return np.asarray(filled, dtype=np.float32)
