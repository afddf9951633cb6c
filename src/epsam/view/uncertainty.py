"""How unsure a probability is: its entropy, 0 at 0 and 1, and 1 bit at 0.5."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from epsam.core.errors import EpsamError
from epsam.view.catalogue import ViewedImage
from epsam.view.open_images import OpenImages
from epsam.wsi.tissue import TissueMask, find_tissue, tissue_fractions

log = logging.getLogger(__name__)

MAX_SQUARES = 400
"""This project: squares that stand for all of a large slide, some seconds of reading."""
SQUARE_PX = 1024

Entropy = npt.NDArray[np.float64]


def entropy(probability: npt.NDArray[np.floating]) -> Entropy:
    """Binary entropy in bits, of the same shape; that of 0 and of 1 is 0."""
    p = np.asarray(probability, np.float64)
    bits = np.zeros_like(p)
    inside = (p > 0) & (p < 1)
    q = p[inside]
    bits[inside] = -(q * np.log2(q) + (1 - q) * np.log2(1 - q))
    return bits


ENTROPY_PER_VALUE = entropy(np.arange(256) / 255)
"""Entropy of a probability that is stored as 0 to 255."""


def mean_over_tissue(
    files: OpenImages, probability: Path, tissue: TissueMask, scale: float
) -> float | None:
    """Mean entropy of a slide's probability over its tissue; None without tissue.

    scale: level-0 pixels that a pixel of the probability spans. Of a slide of more than
    `MAX_SQUARES` squares with tissue, as many are taken, evenly spaced.
    """
    with files.open(probability) as slide:
        width, height = slide.width0, slide.height0
    total = count = 0.0
    for left, top in choose_squares(tissue, width, height, scale, SQUARE_PX):
        side = SQUARE_PX
        values = files.read_grey_square(probability, left, top, side, side)
        values = values[: height - top, : width - left]
        on_tissue = tissue.resample(top, values.shape, scale, left)
        total += float(ENTROPY_PER_VALUE[values[on_tissue]].sum())
        count += int(np.count_nonzero(on_tissue))
    return total / count if count else None


def choose_squares(
    tissue: TissueMask, width: int, height: int, scale: float, side: int
) -> list[tuple[int, int]]:
    """Corners (left, top) of the squares of `side` px with tissue, at most `MAX_SQUARES`, evenly
    spaced.
    """
    lefts = np.arange(0, width, side)
    tops = np.arange(0, height, side)
    fractions = tissue_fractions(
        tissue,
        np.rint(lefts * scale).astype(np.int64),
        np.rint(tops * scale).astype(np.int64),
        round(side * scale),
    )
    corners = []
    for row, column in np.argwhere(fractions > 0).tolist():
        corners.append((int(lefts[column]), int(tops[row])))
    if len(corners) <= MAX_SQUARES:
        return corners
    chosen = np.linspace(0, len(corners) - 1, MAX_SQUARES).round().astype(int)
    return [corners[number] for number in chosen]


class UncertaintyScores:
    """The mean uncertainty of each slide, computed one after another beside the server."""

    def __init__(self, images: Sequence[ViewedImage]) -> None:
        self._images = images
        self.values: list[float | None] = [None] * len(images)
        self.is_complete = not any(image.probability for image in images)

    def compute(self) -> None:
        """Compute all of them; a slide that cannot be read stays without one."""
        # Files of its own: the page need not wait until a slide is read.
        files = OpenImages()
        for number, image in enumerate(self._images):
            if image.probability is None:
                continue
            try:
                with files.open(image.path) as slide:
                    tissue = find_tissue(slide)
                scale = image.frame.scale
                self.values[number] = mean_over_tissue(files, image.probability, tissue, scale)
            except EpsamError as error:
                log.warning("%s: no uncertainty: %s", image.name, error)
        files.close()
        self.is_complete = True

    def start(self) -> None:
        """Compute them in a thread that ends with the process."""
        if not self.is_complete:
            threading.Thread(target=self.compute, daemon=True).start()
