"""Mean and standard deviation of the colours of patches."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from epsam.data.patches import Patch, read_square

MEASURED_PATCHES = 512
"""This project: more patches change the third digit, and reading them takes minutes."""

Colour = npt.NDArray[np.float64]
"""A value for each of red, green and blue (3,)."""


def measure_colours(patches: Sequence[Patch], size: int) -> tuple[Colour, Colour]:
    """Mean and standard deviation over the pixels of patches of size × size px, in 0..1.

    Of many patches, `MEASURED_PATCHES` are measured, at equal distances in their order.
    """
    count = min(len(patches), MEASURED_PATCHES)
    # Sums of bytes are exact, so that a colour that never changes has a deviation of exactly 0.
    totals = [0, 0, 0]
    squares = [0, 0, 0]
    for index in np.linspace(0, len(patches) - 1, count).astype(int):
        pixels = read_square(patches[index], size).reshape(-1, 3).astype(np.int64)
        for colour in range(3):
            totals[colour] += int(pixels[:, colour].sum())
            squares[colour] += int((pixels[:, colour] ** 2).sum())

    n_pixels = count * size**2
    means, deviations = [], []
    for total, of_squares in zip(totals, squares, strict=True):
        means.append(total / n_pixels / 255)
        deviations.append(math.sqrt(n_pixels * of_squares - total**2) / n_pixels / 255)
    # A colour that never changes has nothing to scale.
    return np.array(means), np.array([deviation or 1.0 for deviation in deviations])
