"""TIFF pyramids and SVS through tifffile: only the tiles that a region touches are decoded."""

import math
import struct
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from epsam.core.errors import SlideError
from epsam.data.images import Rgb
from epsam.wsi.pixels import samples_to_rgb
from epsam.wsi.pyramid import level_downsample
from epsam.wsi.resolution import size_from_description, size_from_tags
from epsam.wsi.slide import WHITE, Level, Slide
from epsam.wsi.tiff_checks import check_jpeg_header, check_page, page_size, tile_size

TILE_CACHE_BYTES = 64 << 20
"""Neighbouring patches share tiles: room for a few hundred of them at 256 px (this project)."""

TIFF_ERRORS = (
    tifffile.TiffFileError,
    OSError,
    ValueError,
    RuntimeError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    struct.error,
)
"""What tifffile and the codecs behind it raise on damaged files: JPEG and JPEG 2000 errors are
RuntimeErrors, and the TiffFileError of older versions is no ValueError.
"""


class TiffSlide(Slide):
    """A slide in a TIFF file: tiles or strips, one level or many, any codec that imagecodecs
    offers.
    """

    def __init__(self, path: Path, slide_mpp: float = 0.0) -> None:
        try:
            self._file = tifffile.TiffFile(path)
        except TIFF_ERRORS as error:
            raise SlideError(
                f"{path}: not a readable TIFF ({_summarize(error)}); replace or remove the file"
            ) from error
        try:
            levels = self._read_levels(path)
            super().__init__(path, levels, _read_pixel_size(self._file) or slide_mpp or None)
        except TIFF_ERRORS as error:
            self.close()
            raise SlideError(
                f"{path}: damaged TIFF ({_summarize(error)}); replace or remove the file"
            ) from error
        except SlideError:
            self.close()
            raise

        # Decoded tiles by (level, index), the least recently used first.
        self._tile_cache: OrderedDict[tuple[int, int], Rgb] = OrderedDict()
        self._tile_cache_bytes = 0
        # Several threads may read: the file has one position, and the cache one order.
        self._file_lock = threading.Lock()
        self._cache_lock = threading.Lock()
        self.decoded_px = 0
        """Pixels decoded so far, over all levels: the cost of reading."""

    def close(self) -> None:
        self._file.close()

    def _read_levels(self, path: Path) -> tuple[Level, ...]:
        pyramid = _find_pyramid(self._file)
        self._pages = [page for page, _ in pyramid]
        for page in self._pages:
            check_page(path, page, self._file.filehandle.size)
        return tuple(level for _, level in pyramid)

    def _read_inside(self, left_px: int, top_px: int, width: int, height: int, level: int) -> Rgb:
        tile_width, tile_height = tile_size(self._pages[level])
        tiles_per_row = math.ceil(self.levels[level].width / tile_width)
        rows = range(top_px // tile_height, (top_px + height - 1) // tile_height + 1)
        columns = range(left_px // tile_width, (left_px + width - 1) // tile_width + 1)

        region = np.empty((height, width, 3), dtype=np.uint8)
        for row in rows:
            for column in columns:
                tile = self._read_tile(level, row * tiles_per_row + column)
                _paste(region, tile, column * tile_width - left_px, row * tile_height - top_px)
        return region

    def _read_tile(self, level: int, index: int) -> Rgb:
        """A decoded tile or strip, from the cache if it is there."""
        key = (level, index)
        with self._cache_lock:
            if key in self._tile_cache:
                self._tile_cache.move_to_end(key)
                return self._tile_cache[key]

        tile = self._decode_tile(level, index)
        with self._cache_lock:
            self.decoded_px += tile.shape[0] * tile.shape[1]
            # Another thread may have decoded the same tile meanwhile.
            if key not in self._tile_cache:
                self._tile_cache[key] = tile
                self._tile_cache_bytes += tile.nbytes
            while self._tile_cache_bytes > TILE_CACHE_BYTES and len(self._tile_cache) > 1:
                _, oldest = self._tile_cache.popitem(last=False)
                self._tile_cache_bytes -= oldest.nbytes
        return tile

    def _decode_tile(self, level: int, index: int) -> Rgb:
        """RGB of one tile or strip; white if the file holds no bytes for it, as sparse files mean
        it.
        """
        page = self._pages[level]
        # Planar configuration 2 stores each channel as tiles of its own, one channel after another.
        is_planar = page.keyframe.planarconfig == 2
        n_planes = page.keyframe.samplesperpixel if is_planar else 1
        tiles_per_plane = len(page.dataoffsets) // n_planes
        try:
            segments = [
                self._decode_segment(page, index + plane * tiles_per_plane)
                for plane in range(n_planes)
            ]
            samples = [segment for segment in segments if segment is not None]
            if len(samples) < n_planes:
                width, height = tile_size(page)
                return np.full((height, width, 3), WHITE, dtype=np.uint8)
            tile = samples_to_rgb(np.concatenate(samples, axis=2), page.keyframe)
        except TIFF_ERRORS as error:
            raise SlideError(
                f"{self.path}: tile {index} of level {level} cannot be decoded "
                f"({_summarize(error)}); replace or remove the file"
            ) from error

        return tile

    def _decode_segment(self, page: Any, index: int) -> npt.NDArray[Any] | None:
        """Samples (height, width, channels) of one tile or strip; None if the file holds no bytes
        for it.
        """
        if index >= len(page.dataoffsets):
            return None
        if not page.dataoffsets[index] or not page.databytecounts[index]:
            return None

        with self._file_lock:
            # Read before the first use of `decode`: tifffile builds it then, from tags that it
            # reads through the same file handle.
            self._file.filehandle.seek(page.dataoffsets[index])
            content = self._file.filehandle.read(page.databytecounts[index])
            check_jpeg_header(page, content)
            decode = page.keyframe.decode
            tables = {"jpegtables": page.jpegtables, "jpegheader": page.keyframe.jpegheader}

        started = time.perf_counter()
        decoded = decode(content, index, **tables)[0]
        self.count_decoding(time.perf_counter() - started)
        return None if decoded is None else np.asarray(decoded)[0]


def is_slide_tiff(path: Path) -> bool:
    """Whether a TIFF is stored as slides are, in tiles or at several levels; False if it cannot be
    read at all.
    """
    try:
        with tifffile.TiffFile(path) as file:
            return bool(file.pages.first.is_tiled or len(file.series[0].levels) > 1)
    except TIFF_ERRORS:
        return False


def _find_pyramid(file: Any) -> list[tuple[Any, Level]]:
    """Pages of the slide's own pyramid with their levels, finest first, without label, macro and
    thumbnail.
    """
    pages = [level.pages[0] for level in file.series[0].levels]
    if len(pages) == 1 and not file.is_svs:
        # tifffile knows the pyramids of many scanners; generic ones are marked page by page.
        pages += [page for page in file.pages if _is_reduced(page, pages[0])]

    size0 = page_size(pages[0])
    by_downsample: dict[float, tuple[Any, Level]] = {}
    for page in pages:
        size = page_size(page)
        downsample = level_downsample(size0, size, tile_size(page))
        if downsample is not None and downsample not in by_downsample:
            by_downsample[downsample] = (page, Level(*size, downsample))
    return [by_downsample[downsample] for downsample in sorted(by_downsample)]


def _is_reduced(page: Any, base: Any) -> bool:
    """Whether a further page may be a coarser level of `base`: marked as a reduced image, smaller,
    and stored alike.
    """
    key = page.keyframe
    return bool(
        key.is_reduced
        and key.is_tiled == base.keyframe.is_tiled
        and key.imagewidth < base.keyframe.imagewidth
        and key.samplesperpixel == base.keyframe.samplesperpixel
    )


def read_pixel_size(path: Path) -> float | None:
    """Pixel size in µm that a TIFF image states; None if it states none or cannot be read."""
    try:
        with tifffile.TiffFile(path) as file:
            return _read_pixel_size(file)
    except TIFF_ERRORS:
        return None


def _read_pixel_size(file: Any) -> float | None:
    """Pixel size of level 0, µm, from the description, else from the resolution tags."""
    page = file.pages[0]
    size_um = size_from_description(page.description)
    if size_um is None and "XResolution" in page.tags and "ResolutionUnit" in page.tags:
        numerator, denominator = page.tags["XResolution"].value
        pixels_per_unit = numerator / denominator if denominator else 0.0
        size_um = size_from_tags(pixels_per_unit, int(page.tags["ResolutionUnit"].value))
    return size_um


def _paste(region: Rgb, tile: Rgb, left: int, top: int) -> None:
    """Copy a tile into `region` with its corner at (left, top), which may lie outside."""
    skip_x, skip_y = max(0, -left), max(0, -top)
    part = tile[skip_y : region.shape[0] - top, skip_x : region.shape[1] - left]
    x, y = max(0, left), max(0, top)
    region[y : y + part.shape[0], x : x + part.shape[1]] = part


def _summarize(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
