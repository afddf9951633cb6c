"""TIFF pyramids and SVS through tifffile: only the tiles that a region touches are read and
decoded.
"""

import math
import struct
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from epsam.core.errors import SlideError
from epsam.data.image_header import image_size_from_header
from epsam.data.images import Rgb
from epsam.wsi.pixels import rgb_from_samples
from epsam.wsi.resolution import level_downsample, size_from_description, size_from_tags
from epsam.wsi.slide import WHITE, Level, Slide

TILE_CACHE_BYTES = (
    64 << 20
)  # ours: neighbouring windows share tiles; a few hundred of them at 256 px
LARGEST_PIECE = (
    1 << 30
)  # ours: bytes of a decoded tile or strip; a whole slide in one strip would not fit memory
HEADER_BYTES = 1 << 18  # ours: more than a JPEG holds before its size, a colour profile included
JPEG_KINDS = (6, 7, 33003, 33004, 33005, 33007, 34712)  # TIFF's numbers of JPEG and JPEG 2000
LARGEST_SIDE_PX = 1 << 20  # ours: five times the longest side of a slide at 40×

# What tifffile and the codecs behind it raise on damaged files; JPEG and JPEG 2000 errors are
# RuntimeErrors. Older tifffile's own error is no ValueError.
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


class TiffSlide(Slide):
    """A slide in a TIFF file: tiles or strips, one level or many, any codec that imagecodecs
    knows.
    """

    def __init__(self, path: Path, slide_mpp: float = 0.0) -> None:
        try:
            self._file = tifffile.TiffFile(path)
        except TIFF_ERRORS as error:
            raise SlideError(
                f"{path}: not a readable TIFF ({_short(error)}); replace or remove the file"
            ) from error
        try:
            pages = _pyramid(self._file)
            self._pages = [page for page, _ in pages]
            for page in self._pages:
                _check_page(path, page, self._file.filehandle.size)
            levels = tuple(level for _, level in pages)
            super().__init__(path, levels, _pixel_size(self._file) or slide_mpp or None)
        except TIFF_ERRORS as error:
            self.close()
            raise SlideError(
                f"{path}: damaged TIFF ({_short(error)}); replace or remove the file"
            ) from error
        except SlideError:
            self.close()
            raise
        self._kept: OrderedDict[tuple[int, int], Rgb] = OrderedDict()
        self._kept_bytes = 0
        self.decoded_px = 0
        """Pixels decoded so far, over all levels: what reading has cost."""

    def close(self) -> None:
        self._file.close()

    def _pixels(self, left_px: int, top_px: int, width: int, height: int, level: int) -> Rgb:
        tile_width, tile_height = _tile_size(self._pages[level])
        columns = math.ceil(self.levels[level].width / tile_width)
        region = np.empty((height, width, 3), dtype=np.uint8)
        for row in range(top_px // tile_height, (top_px + height - 1) // tile_height + 1):
            for column in range(left_px // tile_width, (left_px + width - 1) // tile_width + 1):
                tile = self._tile(level, row * columns + column)
                _paste(region, tile, column * tile_width - left_px, row * tile_height - top_px)
        return region

    def _tile(self, level: int, index: int) -> Rgb:
        """A decoded tile or strip; a tile without bytes is white, as sparse files mean it."""
        key = (level, index)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        tile = self._decode(level, index)
        self._kept[key] = tile
        self._kept_bytes += tile.nbytes
        while self._kept_bytes > TILE_CACHE_BYTES and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        return tile

    def _decode(self, level: int, index: int) -> Rgb:
        page = self._pages[level]
        planes = page.keyframe.samplesperpixel if page.keyframe.planarconfig == 2 else 1
        step = len(page.dataoffsets) // planes
        try:
            samples = [self._segment(page, index + plane * step) for plane in range(planes)]
            found = [part for part in samples if part is not None]
            if len(found) < planes:
                width, height = _tile_size(page)
                return np.full((height, width, 3), WHITE, dtype=np.uint8)
            tile = rgb_from_samples(np.concatenate(found, axis=2), page.keyframe)
        except TIFF_ERRORS as error:
            raise SlideError(
                f"{self.path}: tile {index} of level {level} cannot be decoded ({_short(error)}); "
                "replace or remove the file"
            ) from error
        self.decoded_px += tile.shape[0] * tile.shape[1]
        return tile

    def _segment(self, page: Any, index: int) -> npt.NDArray[Any] | None:
        """Samples (height, width, channels) of one tile or strip; None if the file holds no bytes
        for it.
        """
        if (
            index >= len(page.dataoffsets)
            or not page.dataoffsets[index]
            or not page.databytecounts[index]
        ):
            return None
        # Read before `decode` is touched: tifffile makes it on first use, and reads tags from the
        # same handle for it.
        self._file.filehandle.seek(page.dataoffsets[index])
        content = self._file.filehandle.read(page.databytecounts[index])
        _check_stated(page, content)
        started = time.perf_counter()
        decoded = page.keyframe.decode(
            content, index, jpegtables=page.jpegtables, jpegheader=page.keyframe.jpegheader
        )[0]
        self.decoding_s += time.perf_counter() - started
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


def _pyramid(file: Any) -> list[tuple[Any, Level]]:
    """Pages of the slide's own pyramid with their levels, finest first; label, macro and thumbnail
    are left out.
    """
    series = file.series[0]
    pages = [level.pages[0] for level in series.levels]
    if len(pages) == 1 and not file.is_svs:
        pages += [page for page in file.pages if _is_reduced(page, pages[0])]
    size0 = (pages[0].keyframe.imagewidth, pages[0].keyframe.imagelength)
    found: dict[float, tuple[Any, Level]] = {}
    for page in pages:
        size = (page.keyframe.imagewidth, page.keyframe.imagelength)
        downsample = level_downsample(size0, size, _tile_size(page))
        if downsample is not None and downsample not in found:
            found[downsample] = (page, Level(*size, downsample))
    return [found[downsample] for downsample in sorted(found)]


def _is_reduced(page: Any, base: Any) -> bool:
    """Whether a further page may be a coarser level of `base`: tiled alike, smaller, and marked as
    a reduced image.
    """
    key = page.keyframe
    return bool(
        key.is_reduced
        and key.is_tiled == base.keyframe.is_tiled
        and key.imagewidth < base.keyframe.imagewidth
        and key.samplesperpixel == base.keyframe.samplesperpixel
    )


def _check_page(path: Path, page: Any, file_size: int) -> None:
    if page.keyframe.compression not in tifffile.TIFF.DECOMPRESSORS:
        raise SlideError(
            f"{path}: compressed as {tifffile.COMPRESSION(page.keyframe.compression).name}, which needs "
            "the package imagecodecs; run: pip install imagecodecs"
        )
    if not len(page.dataoffsets):
        raise SlideError(f"{path}: holds no pixels; replace or remove the file")
    _check_sizes(path, page)
    ends = np.asarray(page.dataoffsets, dtype=np.int64) + np.asarray(
        page.databytecounts, dtype=np.int64
    )
    if ends.max() > file_size:
        raise SlideError(
            f"{path}: truncated, {file_size} of at least {ends.max()} bytes are there; copy it again"
        )


def _check_sizes(path: Path, page: Any) -> None:
    """Sizes that are stated, not measured, could be anything: they would ask for terabytes or
    misplace every tile.
    """
    key = page.keyframe
    (width, height), (across, down) = (key.imagewidth, key.imagelength), _tile_size(page)
    if not (0 < width <= LARGEST_SIDE_PX and 0 < height <= LARGEST_SIDE_PX):
        raise SlideError(
            f"{path}: states {width}×{height} px, which no slide has; replace or remove the file"
        )
    size = across * down * max(3, key.samplesperpixel) * max(8, key.bitspersample) // 8
    if size > LARGEST_PIECE:
        raise SlideError(
            f"{path}: stored in pieces of {across}×{down} px, {size / 1e9:.1f} GB each; convert it to a "
            "tiled TIFF"
        )
    needed = math.ceil(width / across) * math.ceil(height / down)
    needed *= key.samplesperpixel if key.planarconfig == 2 else 1
    if len(page.dataoffsets) < needed:
        raise SlideError(
            f"{path}: {width}×{height} px are {needed} tiles, {len(page.dataoffsets)} are listed; "
            "replace or remove the file"
        )


def _check_stated(page: Any, content: bytes) -> None:
    """Raises ValueError if the own header of a JPEG or JPEG 2000 tile states far more than a tile:
    its decoder would make room for it.
    """
    stated = (
        image_size_from_header(content[:HEADER_BYTES])
        if page.keyframe.compression in JPEG_KINDS
        else None
    )
    across, down = _tile_size(page)
    if stated and math.prod(stated) > 4 * across * down:
        raise ValueError(
            f"its JPEG header states {stated[0]}×{stated[1]} px, the file {across}×{down}"
        )


def _pixel_size(file: Any) -> float | None:
    page = file.pages[0]
    found = size_from_description(page.description)
    if found is None and "XResolution" in page.tags and "ResolutionUnit" in page.tags:
        above, below = page.tags["XResolution"].value
        found = size_from_tags(
            above / below if below else 0.0, int(page.tags["ResolutionUnit"].value)
        )
    return found


def _tile_size(page: Any) -> tuple[int, int]:
    """Width and height of a page's tiles; a strip is a tile as wide as the page."""
    key = page.keyframe
    if key.is_tiled:
        return int(key.tilewidth), int(key.tilelength)
    return int(key.imagewidth), int(min(key.rowsperstrip, key.imagelength))


def _paste(region: Rgb, tile: Rgb, left: int, top: int) -> None:
    """Copy a tile into `region` with its corner at (left, top), which may lie outside."""
    skip_x, skip_y = max(0, -left), max(0, -top)
    part = tile[skip_y : region.shape[0] - top, skip_x : region.shape[1] - left]
    y, x = max(0, top), max(0, left)
    region[y : y + part.shape[0], x : x + part.shape[1]] = part


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
