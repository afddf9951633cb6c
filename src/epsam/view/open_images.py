"""Slides, images and masks that are open, the least recently used closed when there are many."""

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from epsam.data.images import Grey, Rgb, resize_grey, resize_rgb
from epsam.wsi.image_file import ImageFile
from epsam.wsi.reader import (
    SLIDE_SUFFIXES,
    Slide,
    find_level,
    open_slide,
    plan_overview,
    read_overview_strips,
    read_tile,
)

MAX_OPEN = 12
MAX_SIDE_PX = 8192
"""Side of the largest region that is read for one tile, 200 MB (this project). A slide without
coarse levels is shown from an overview where a tile would take more.
"""
OVERVIEW_PX = 4096


@dataclass
class _ImageInUse:
    slide: Slide
    overview: Rgb | None = None


class OpenImages:
    """Reads regions of images by path. Threads take turns: the readers have one file handle."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._images: OrderedDict[Path, _ImageInUse] = OrderedDict()

    @contextmanager
    def open(self, path: Path) -> Iterator[Slide]:
        """The open slide of a path, for this thread alone."""
        with self._lock:
            yield self._find(path).slide

    def read_square(self, path: Path, left_px: int, top_px: int, side_px: int, size: int) -> Rgb:
        """A square of an image as RGB (size, size, 3), corner and side in its finest pixels; white
        outside of the image.

        Raises SlideError or ImageError if the file cannot be read.
        """
        with self._lock:
            image = self._find(path)
            if _side_read(image.slide, side_px, size) <= MAX_SIDE_PX:
                return read_tile(image.slide, left_px, top_px, side_px, size)
            if image.overview is None:
                image.overview = _read_overview(image.slide)
            return _cut_overview(image.slide, image.overview, left_px, top_px, side_px, size)

    def read_grey_square(
        self, path: Path, left_px: int, top_px: int, side_px: int, size: int
    ) -> Grey:
        """A square of a grey image (size, size), 0 outside of the image."""
        with self._lock:
            slide = self._find(path).slide
            grey = _read_grey(slide, left_px, top_px, side_px, size)

        px = side_px / size
        right, bottom = slide.width0 - left_px, slide.height0 - top_px
        grey[: max(0, round(-top_px / px))] = 0
        grey[:, : max(0, round(-left_px / px))] = 0
        grey[max(0, math.ceil(bottom / px)) :] = 0
        grey[:, max(0, math.ceil(right / px)) :] = 0
        return grey

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            while self._images:
                self._images.popitem()[1].slide.close()

    def _find(self, path: Path) -> _ImageInUse:
        if path not in self._images:
            self._images[path] = _ImageInUse(_open(path))
            while len(self._images) > MAX_OPEN:
                self._images.popitem(last=False)[1].slide.close()
        self._images.move_to_end(path)
        return self._images[path]


def _open(path: Path) -> Slide:
    # Patches may be TIFF files, too, of which the reader of slides takes both kinds.
    if path.suffix.lower() in SLIDE_SUFFIXES:
        return open_slide(path)
    return ImageFile(path)


def _read_grey(slide: Slide, left_px: int, top_px: int, side_px: int, size: int) -> Grey:
    """As `read_tile`, with the nearest pixels of the image outside of it: the white there would be
    averaged into the border.
    """
    number = find_level(slide, side_px / size)
    level = slide.levels[number]
    left, top = round(left_px / level.downsample), round(top_px / level.downsample)
    side = max(1, round(side_px / level.downsample))
    x, y = min(max(left, 0), level.width), min(max(top, 0), level.height)
    right, bottom = min(left + side, level.width), min(top + side, level.height)
    if right <= x or bottom <= y:
        return np.zeros((size, size), np.uint8)

    inside = slide.read(x, y, right - x, bottom - y, number)[:, :, 0]
    margins = ((y - top, top + side - bottom), (x - left, left + side - right))
    padded = np.pad(inside, margins, mode="edge")
    return resize_grey(padded, size, size)


def _side_read(slide: Slide, side_px: int, size: int) -> float:
    """The side of what is read for a square, in pixels of the level that it is read from."""
    return side_px / slide.levels[find_level(slide, side_px / size)].downsample


def _read_overview(slide: Slide) -> Rgb:
    plan = plan_overview(slide, max(1.0, max(slide.width0, slide.height0) / OVERVIEW_PX))
    overview = np.empty((plan.height, plan.width, 3), np.uint8)
    for top, strip in read_overview_strips(slide, plan):
        overview[top : top + len(strip)] = strip
    return overview


def _cut_overview(
    slide: Slide, overview: Rgb, left_px: int, top_px: int, side_px: int, size: int
) -> Rgb:
    scale = overview.shape[1] / slide.width0
    left, top, side = round(left_px * scale), round(top_px * scale), max(1, round(side_px * scale))
    square = np.full((side, side, 3), 255, np.uint8)
    part = overview[max(0, top) : top + side, max(0, left) : left + side]
    below, right = max(0, -top), max(0, -left)
    square[below : below + part.shape[0], right : right + part.shape[1]] = part
    return resize_rgb(square, size, size)
