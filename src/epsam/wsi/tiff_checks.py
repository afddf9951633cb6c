"""Checks of a TIFF's tags before anything is decoded: a damaged or hostile file can state
anything.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from epsam.core.errors import SlideError
from epsam.data.image_header import image_size_from_header

# All limits are this project's.
MAX_SEGMENT_BYTES = 1 << 30  # of a decoded tile or strip: a whole slide in one strip is too much
HEADER_BYTES = 1 << 18  # more than a JPEG holds before its size, a colour profile included
MAX_SIDE_PX = 1 << 20  # five times the longest side of a slide at 40×

_JPEG_KINDS = (6, 7, 33003, 33004, 33005, 33007, 34712)
"""TIFF's numbers of JPEG and JPEG 2000."""


def page_size(page: Any) -> tuple[int, int]:
    """Width and height of a page, px."""
    return page.keyframe.imagewidth, page.keyframe.imagelength


def tile_size(page: Any) -> tuple[int, int]:
    """Width and height of a page's tiles; a strip is a tile as wide as the page."""
    key = page.keyframe
    if key.is_tiled:
        return int(key.tilewidth), int(key.tilelength)
    return int(key.imagewidth), int(min(key.rowsperstrip, key.imagelength))


def check_page(path: Path, page: Any, file_size: int) -> None:
    """Raises SlideError if a page cannot be decoded, holds no pixels, or is cut short."""
    compression = page.keyframe.compression
    if compression not in tifffile.TIFF.DECOMPRESSORS:
        raise SlideError(
            f"{path}: compressed as {tifffile.COMPRESSION(compression).name}, which needs "
            "the package imagecodecs; run: pip install imagecodecs"
        )
    if not len(page.dataoffsets):
        raise SlideError(f"{path}: holds no pixels; replace or remove the file")
    _check_sizes(path, page)

    offsets = np.asarray(page.dataoffsets, dtype=np.int64)
    ends = offsets + np.asarray(page.databytecounts, dtype=np.int64)
    if ends.max() > file_size:
        raise SlideError(
            f"{path}: truncated, {file_size} of at least {ends.max()} bytes are there; "
            "copy it again"
        )


def _check_sizes(path: Path, page: Any) -> None:
    """Raises SlideError if the sizes in the page's tags cannot be true.

    A tag can state anything: such sizes would ask for terabytes or misplace every tile.
    """
    key = page.keyframe
    width, height = page_size(page)
    tile_width, tile_height = tile_size(page)
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
        raise SlideError(
            f"{path}: states {width}×{height} px, which no slide has; replace or remove the file"
        )

    # At least three channels of 8 bits, since that is what becomes of any tile.
    n_bytes = tile_width * tile_height * max(3, key.samplesperpixel) * max(8, key.bitspersample)
    n_bytes //= 8
    if n_bytes > MAX_SEGMENT_BYTES:
        raise SlideError(
            f"{path}: stored in pieces of {tile_width}×{tile_height} px, "
            f"{n_bytes / 1e9:.1f} GB each; convert it to a tiled TIFF"
        )

    n_tiles = math.ceil(width / tile_width) * math.ceil(height / tile_height)
    if key.planarconfig == 2:
        n_tiles *= key.samplesperpixel
    if len(page.dataoffsets) < n_tiles:
        raise SlideError(
            f"{path}: {width}×{height} px are {n_tiles} tiles, {len(page.dataoffsets)} are listed; "
            "replace or remove the file"
        )


def check_jpeg_header(page: Any, content: bytes) -> None:
    """Raises ValueError if the header inside a JPEG or JPEG 2000 tile states far more than a tile.

    The decoder would allocate memory for what the header states.
    """
    if page.keyframe.compression not in _JPEG_KINDS:
        return
    stated = image_size_from_header(content[:HEADER_BYTES])
    width, height = tile_size(page)
    if stated and math.prod(stated) > 4 * width * height:
        raise ValueError(
            f"its JPEG header states {stated[0]}×{stated[1]} px, the file {width}×{height}"
        )
