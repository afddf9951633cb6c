"""The target of a training example: its pseudo-label, and over it what a person has corrected."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from epsam.corrections.shapes import TrustedPixels
from epsam.data.d4 import apply_d4
from epsam.data.images import Mask, read_mask, read_mask_values, read_probability
from epsam.training.round_data import Example

_TUMOUR = 255
"""In files of corrections 0 is not reviewed, 255 reviewed tumour, and 128 reviewed without."""


def load_correction(path: Path) -> TrustedPixels:
    """The trusted pixels (side, side) of a file that training wrote of a correction."""
    values = read_mask_values(path)
    return TrustedPixels(values > 0, values == _TUMOUR)


def load_target(example: Example) -> Mask:
    """The target (side, side) of an example with a file: the pseudo-label, the corrected pixels in
    its place where a person has reviewed it. Raises ValueError if it has no file.
    """
    if example.correction is None:
        if example.target is None:
            raise ValueError(f"{example.patch.name}: its target is empty, without a file")
        return read_mask(example.target)
    reviewed, tumour = load_correction(example.correction)
    if example.target is None:
        return tumour
    return np.where(reviewed, tumour, read_mask(example.target))


def load_values(example: Example, target: Mask, transform: int) -> npt.NDArray[np.floating]:
    """What the decoder is fitted to (side, side): the target, which is in the transform of D4, or
    with --soft_targets its probabilities; reviewed pixels are certain.
    """
    if example.soft is None:
        return target.astype(np.float32)
    soft = apply_d4(read_probability(example.soft), transform)
    if example.correction is None:
        return soft
    reviewed = apply_d4(load_correction(example.correction).reviewed, transform)
    return np.where(reviewed, target.astype(np.float32), soft)


def load_weights(
    examples: Sequence[Example], transforms: Sequence[int], side: int
) -> npt.NDArray[np.float32] | None:
    """Weights of the pixels (B, side, side) in the loss; None if no example is corrected.

    Reviewed pixels weigh the example's `correction_weight`, pixels of a pseudo-label 1. Where a
    patch has no accepted pseudo-label, what was not reviewed weighs nothing.
    """
    if not any(example.correction for example in examples):
        return None
    weights = np.ones((len(examples), side, side), np.float32)
    for index, example in enumerate(examples):
        if example.correction is None:
            continue
        reviewed = apply_d4(load_correction(example.correction).reviewed, transforms[index])
        remainder = 0.0 if example.target is None else 1.0
        weights[index] = np.where(reviewed, example.correction_weight, remainder)
    return weights
