"""The dihedral group D4: the eight flips and rotations of a square, by their number 0 … 7."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Pixel = TypeVar("Pixel", bound=np.generic)

# Each row: quarter turns anticlockwise, then whether to mirror left–right. Number 0 is the identity
# and 1 its mirror image; the first four need no quarter turn. In this order the first 1, 2, 4 and 8
# transforms are each closed under composition, so any of these counts is a group.
_D4 = (
    (0, False),
    (0, True),
    (2, False),
    (2, True),
    (1, False),
    (1, True),
    (3, False),
    (3, True),
)


def apply_d4(image: npt.NDArray[Pixel], transform: int) -> npt.NDArray[Pixel]:
    """Apply transform 0 … 7 to an image (side, side, …) or a mask (side, side)."""
    turns, is_mirrored = _D4[transform]
    rotated = np.rot90(image, turns)
    return np.ascontiguousarray(rotated[:, ::-1] if is_mirrored else rotated)


def undo_d4(image: npt.NDArray[Pixel], transform: int) -> npt.NDArray[Pixel]:
    """Apply the inverse of transform 0 … 7, so that `undo_d4(apply_d4(x, t), t)` equals x."""
    turns, is_mirrored = _D4[transform]
    rotated = image[:, ::-1] if is_mirrored else image
    return np.ascontiguousarray(np.rot90(rotated, -turns))


def draw_d4(n_transforms: int, rng: np.random.Generator) -> int:
    """Draw one of the first `n_transforms` transforms for a training step.

    The identity has probability 1/2, as in the published augmentation (p = .5); the others share
    the rest evenly.
    """
    # With one transform nothing is drawn from `rng`.
    if n_transforms == 1 or rng.random() < 0.5:
        return 0
    return int(rng.integers(1, n_transforms))
