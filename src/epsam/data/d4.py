"""The eight flips and rotations of a square, in the order in which they are kept."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Scalar = TypeVar("Scalar", bound=np.generic)

# (quarter turns, then mirror left–right). The first two are the patch and its mirror image, the
# first four need no quarter turn, so 1, 2, 4 and 8 views are each closed under composition.
_VIEWS = (
    (0, False),
    (0, True),
    (2, False),
    (2, True),
    (1, False),
    (1, True),
    (3, False),
    (3, True),
)


def apply_d4(image: npt.NDArray[Scalar], view: int) -> npt.NDArray[Scalar]:
    """View 0 … 7 of an image (side, side, …) or mask (side, side); view 0 is the image itself."""
    turns, mirrored = _VIEWS[view]
    turned = np.rot90(image, turns)
    return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)


def undo_d4(image: npt.NDArray[Scalar], view: int) -> npt.NDArray[Scalar]:
    """What `apply_view` made of an image of the same form, upright again."""
    turns, mirrored = _VIEWS[view]
    return np.ascontiguousarray(np.rot90(image[:, ::-1] if mirrored else image, -turns))


def draw_d4(views: int, rng: np.random.Generator) -> int:
    """The view for a training step: half the time the patch itself, else one of the others (methods
    6b: p = .5).
    """
    if views == 1 or rng.random() < 0.5:
        return 0
    return int(rng.integers(1, views))
