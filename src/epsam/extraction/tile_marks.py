"""The tiles that become patches, marked on the thumbnail of their slide."""

from pathlib import Path

import cv2
import numpy as np

from epsam.data.images import Rgb, read_rgb, write_rgb
from epsam.extraction.candidates import CandidateTiles
from epsam.extraction.thumbnail import Colour

POSITIVE: Colour = (255, 140, 0)
NEGATIVE: Colour = (60, 60, 60)


def mark_tiles(
    path: Path, positives: CandidateTiles, negatives: CandidateTiles, width0: int
) -> None:
    """Mark the tiles on the thumbnail in `path`; `width0`: the slide's width in level-0 pixels."""
    image = read_rgb(path)
    scale = image.shape[1] / width0
    # Positives last, on top: there are fewer of them.
    for tiles, colour in ((negatives, NEGATIVE), (positives, POSITIVE)):
        image = draw_tiles(image, tiles, scale, colour)
    write_rgb(path, image)


def draw_tiles(image: Rgb, tiles: CandidateTiles, scale: float, colour: Colour) -> Rgb:
    """The image with a square around each tile; a level-0 pixel spans `scale` of its pixels."""
    thumbnail = np.ascontiguousarray(image)
    # One pixel less, so that squares of neighbouring tiles do not cover each other.
    side = max(1, round(tiles.side_px0 * scale) - 1)
    for left_px0, top_px0 in zip(tiles.left_px0, tiles.top_px0, strict=True):
        left, top = round(float(left_px0) * scale), round(float(top_px0) * scale)
        cv2.rectangle(thumbnail, (left, top), (left + side, top + side), colour, 1)
    return thumbnail
