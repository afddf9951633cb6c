"""Do the pixels of patches and masks say what they seem to say?"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from epsam.data.images import is_black, read_mask, read_mask_values, read_orientation
from epsam.data.patches import Patch, list_labelled_patches
from epsam.paths import DatasetPaths
from epsam.preflight.finding import Finding, problem, warning

MAX_PATCHES = 200
"""This project: patches of a split that are decoded, a second or two; evenly spaced by name."""


def check_split_pixels(paths: DatasetPaths, split: str, image_dir: str) -> Iterator[Finding]:
    """As `check_pixels`, for the patches of a split; `image_dir` replaces its folder of images."""
    yield from check_pixels(list_labelled_patches(paths.split(split), image_dir))


def check_pixels(patches: Sequence[Patch]) -> Iterator[Finding]:
    """Images are not black, and masks hold one class and none of a negative.

    Raises ImageError for an image that cannot be decoded, as the stages would.
    """
    step = max(1, -(-len(patches) // MAX_PATCHES))
    sample = patches[::step]
    black: list[Path] = []
    indexed: list[Path] = []
    filled: list[Path] = []
    turned: list[Path] = []
    for patch in sample:
        if is_black(patch.read()):
            black.append(patch.image)
        if read_orientation(patch.image) != 1:
            turned.append(patch.image)
        if patch.mask is None:
            continue
        if len(np.unique(read_mask_values(patch.mask))) > 2:
            indexed.append(patch.mask)
        if patch.label == 0 and read_mask(patch.mask).any():
            filled.append(patch.mask)

    n_read = len(sample)
    if black:
        yield problem(
            f"{black[0]}: all black; {len(black)} of {n_read} images that were read are; "
            "remove them or save them again"
        )
    if indexed:
        yield warning(
            f"{indexed[0]}: has more than two values; {len(indexed)} of {n_read} masks do: every "
            "value above 0 counts as tumour; save masks as PNG of 0 and 255"
        )
    if filled:
        yield warning(
            f"{filled[0]}: is of a patch without tumour but not empty; {len(filled)} of {n_read} "
            "are: the label decides; correct the label or remove the mask"
        )
    if turned:
        yield warning(
            f"{turned[0]}: carries a turn in EXIF; {len(turned)} of {n_read} images do: it is "
            "applied to them and to masks that carry none"
        )
