"""The tiles of a viewed image: the image itself as JPEG, and what was made of it as grey PNG, which
the page colours.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from epsam.data.images import Grey, encode_grey_png, encode_jpeg, resize_grey
from epsam.view.catalogue import ViewedImage
from epsam.view.levels import TILE_PX, TileBox, ZoomLevels
from epsam.view.open_images import OpenImages
from epsam.view.uncertainty import ENTROPY_PER_VALUE

IMAGE = "image"
PROBABILITY, UNCERTAINTY, MASK, GROUND_TRUTH = "probability", "uncertainty", "mask", "ground_truth"

CACHE_BYTES = 128 << 20
"""This project: some 5,000 tiles."""
QUALITY = 85
OUTLINE_PX = 2
"""Width of a mask's outline on the screen (this project)."""
FINER = 4
"""Entropy is taken of pixels up to so many times finer than those shown (this project): that of a
mean of 0 and 1 would say that the model is in doubt.
"""


@dataclass(frozen=True)
class TileAddress:
    """Which tile of which layer of which image."""

    image: int
    layer: str
    level: int
    column: int
    row: int


def layer_file(image: ViewedImage, layer: str) -> Path | None:
    """The file behind a layer of tiles; None where there is none."""
    files = {
        IMAGE: image.path,
        PROBABILITY: image.probability,
        UNCERTAINTY: image.probability,
        MASK: image.mask,
        GROUND_TRUTH: image.ground_truth,
    }
    return files.get(layer)


class TileReader:
    """Tiles of the images of a catalogue as files' contents, the last ones kept in memory."""

    def __init__(self, images: list[ViewedImage], files: OpenImages) -> None:
        self._images = images
        self._files = files
        self._lock = threading.Lock()
        self._cache: OrderedDict[TileAddress, bytes] = OrderedDict()
        self._cache_bytes = 0

    def levels(self, number: int, layer: str) -> ZoomLevels | None:
        """The levels of a layer of an image; None if it has no such layer."""
        path = layer_file(self._images[number], layer)
        if path is None:
            return None
        with self._files.open(path) as slide:
            return ZoomLevels(slide.width0, slide.height0)

    def read(self, address: TileAddress) -> bytes | None:
        """A tile as JPEG (of the image) or PNG; None if there is none at this place.

        Raises SlideError or ImageError if the file behind it cannot be read.
        """
        with self._lock:
            if address in self._cache:
                self._cache.move_to_end(address)
                return self._cache[address]
        content = self._render(address)
        if content is not None:
            self._store(address, content)
        return content

    def _store(self, address: TileAddress, content: bytes) -> None:
        with self._lock:
            if address not in self._cache:
                self._cache[address] = content
                self._cache_bytes += len(content)
            while self._cache_bytes > CACHE_BYTES:
                self._cache_bytes -= len(self._cache.popitem(last=False)[1])

    def _render(self, address: TileAddress) -> bytes | None:
        if not 0 <= address.image < len(self._images):
            return None
        path = layer_file(self._images[address.image], address.layer)
        levels = self.levels(address.image, address.layer)
        if path is None or levels is None:
            return None
        box = levels.find_tile(address.level, address.column, address.row)
        if box is None:
            return None

        if address.layer == IMAGE:
            side = TILE_PX * box.downsample
            pixels = self._files.read_square(path, box.left_px, box.top_px, side, TILE_PX)
            return encode_jpeg(pixels[: box.height, : box.width], QUALITY)
        render = {
            PROBABILITY: _render_probability,
            UNCERTAINTY: _render_uncertainty,
            MASK: _render_outline,
            GROUND_TRUTH: _render_outline,
        }[address.layer]
        grey = render(self._files, path, box)
        return encode_grey_png(np.ascontiguousarray(grey[: box.height, : box.width]))


def _render_probability(files: OpenImages, path: Path, box: TileBox) -> Grey:
    side = TILE_PX * box.downsample
    return files.read_grey_square(path, box.left_px, box.top_px, side, TILE_PX)


def _render_uncertainty(files: OpenImages, path: Path, box: TileBox) -> Grey:
    """Entropy of each pixel of the finest level, or of one up to `FINER` times finer than the tile,
    then its mean over the tile's pixels.
    """
    side = TILE_PX * box.downsample
    size = TILE_PX * min(box.downsample, FINER)
    probability = files.read_grey_square(path, box.left_px, box.top_px, side, size)
    entropy = np.rint(ENTROPY_PER_VALUE[probability] * 255).astype(np.uint8)
    return resize_grey(entropy, TILE_PX, TILE_PX)


def _render_outline(files: OpenImages, path: Path, box: TileBox) -> Grey:
    """255 along the inner border of a mask, else 0."""
    # With a margin, so that the border of a tile is none of the mask.
    margin = OUTLINE_PX * box.downsample
    side = TILE_PX * box.downsample + 2 * margin
    size = TILE_PX + 2 * OUTLINE_PX
    grey = files.read_grey_square(path, box.left_px - margin, box.top_px - margin, side, size)
    mask = (grey > 127).astype(np.uint8)
    kernel = np.ones((2 * OUTLINE_PX + 1, 2 * OUTLINE_PX + 1), np.uint8)
    inside = cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    border = (mask - inside) * 255
    return np.asarray(border[OUTLINE_PX:-OUTLINE_PX, OUTLINE_PX:-OUTLINE_PX], dtype=np.uint8)
