"""Writing slides: whole-slide images as tiled, pyramidal TIFF that OpenSlide, QuPath and `tifffile`
open.

Levels are consecutive pages of one file, the reduced ones marked as such (NewSubfileType 1), which
is the form that OpenSlide calls generic tiled TIFF.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
import tifffile

from epsam.core.errors import SlideError
from epsam.core.files import whole_file

Pixels = npt.NDArray[np.uint8]

LARGEST_CLASSIC_TIFF = 2 << 30
"""Raw bytes above which the file is a BigTIFF; half of what classic TIFF can address, for the
levels and the tags.
"""


BUFFER_BYTES = 1 << 24
"""Ours: bytes of tiles that tifffile may gather at a time; its own limit is 256 MB."""


@dataclass(frozen=True)
class PyramidFormat:
    """How a slide is stored.

    `tile` is the side of a tile, px, a multiple of 16. `compression` is "jpeg" (RGB or grey, with
    `quality` 1–100) or "deflate" (lossless). `levels` is the number of levels, 0: halve until a
    level fits into one tile. `average` tells whether a reduced pixel is the mean of the four below
    it (images) or one of them (masks, whose values stay as are).
    """

    tile: int = 256
    compression: str = "jpeg"
    quality: int = 88
    levels: int = 0
    average: bool = True


def write_slide(path: Path, image: Pixels, mpp: float, form: PyramidFormat | None = None) -> None:
    """Write an image in memory, RGB (height, width, 3) or grey (height, width), as `write_pyramid`
    does.
    """
    form = form or PyramidFormat()
    write_pyramid(path, split_bands(image, form.tile), image.shape, mpp, form)


def write_pyramid(
    path: Path,
    bands: Iterable[Pixels],
    shape: tuple[int, ...],
    mpp: float,
    form: PyramidFormat | None = None,
) -> None:
    """Write a slide from top to bottom, whole or not at all; memory holds one band of tiles,
    whatever the slide's size.

    `bands` are uint8 row bands of level 0, each `form.tile` rows high (the last one may be lower);
    `shape` is level 0's (height, width, 3) or (height, width); `mpp` its pixel size, µm. Every
    level has half the sides of the one before, rounded down, so the downsample is a power of two.
    Reduced levels wait uncompressed in a file beside `path`. Raises SlideError if the bands do not
    add up to `shape`.
    """
    form = form or PyramidFormat()
    with (
        whole_file(path) as temporary,
        TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}.") as waiting,
    ):
        big = int(np.prod(shape)) > LARGEST_CLASSIC_TIFF
        with tifffile.TiffWriter(temporary, bigtiff=big) as writer:
            for level in range(number_of_levels(shape, form)):
                reduced = Path(waiting) / f"{level + 1}"
                with reduced.open("wb") as stream:
                    tiles = _tiles(_checked(bands, shape, form.tile, path.name), form, stream)
                    settings = _page_settings(level, len(shape) == 3, mpp, form)
                    writer.write(tiles, shape=shape, dtype=np.uint8, **settings)
                shape = (shape[0] // 2, shape[1] // 2, *shape[2:])
                bands = _waiting_bands(reduced, form.tile, shape)


def number_of_levels(shape: tuple[int, ...], form: PyramidFormat) -> int:
    """Levels that are written: as many as asked for, or until one tile holds the level, but none
    without pixels.
    """
    height, width = shape[:2]
    largest = min(height, width).bit_length()
    needed = 1
    while max(height, width) > form.tile << (needed - 1):
        needed += 1
    return min(form.levels or needed, largest)


def split_bands(image: Pixels, rows: int) -> Iterator[Pixels]:
    """The image from top to bottom in bands of `rows` rows; the last one may be lower."""
    for top in range(0, image.shape[0], rows):
        yield image[top : top + rows]


def halve_band(band: Pixels, average: bool) -> Pixels:
    """A band of half the rows and columns, rounded down: means of 2×2 pixels, or their top left
    ones.
    """
    height, width = band.shape[0] // 2, band.shape[1] // 2
    even = band[: 2 * height, : 2 * width]
    if not average or not even.size:
        return even[::2, ::2]
    return np.asarray(
        cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8
    )


def regroup_bands(bands: Iterable[Pixels], rows: int) -> Iterator[Pixels]:
    """Bands of any height as bands of `rows` rows; the last one may be lower. Memory: one band of
    each kind.
    """
    waiting: list[Pixels] = []
    for band in bands:
        while band.shape[0]:
            piece = band[: rows - sum(map(len, waiting))]
            waiting, band = [*waiting, piece], band[len(piece) :]
            if sum(map(len, waiting)) == rows:
                yield np.concatenate(waiting)
                waiting = []
    if waiting:
        yield np.concatenate(waiting)


def _waiting_bands(path: Path, rows: int, shape: tuple[int, ...]) -> Iterator[Pixels]:
    """A reduced level from its file, a band at a time: mapped into memory, it would count as the
    program's own.
    """
    with path.open("rb") as stream:
        for top in range(0, shape[0], rows):
            height = min(rows, shape[0] - top)
            content = stream.read(height * int(np.prod(shape[1:])))
            yield np.frombuffer(content, dtype=np.uint8).reshape(height, *shape[1:])


def _checked(
    bands: Iterable[Pixels], shape: tuple[int, ...], rows: int, name: str
) -> Iterator[Pixels]:
    top = 0
    for band in bands:
        expected = (min(rows, shape[0] - top), *shape[1:])
        if band.shape != expected:
            raise SlideError(
                f"{name}: a band of shape {expected} expected at row {top}, found {band.shape}; "
                f"give bands of {rows} rows from top to bottom"
            )
        yield band
        top += band.shape[0]
    if top != shape[0]:
        raise SlideError(
            f"{name}: {shape[0]} rows expected, found {top}; give every band of the slide"
        )


def _tiles(bands: Iterable[Pixels], form: PyramidFormat, reduced: BinaryIO) -> Iterator[Pixels]:
    """Full tiles in reading order; writes the next level to `reduced` on the way."""
    for band in bands:
        reduced.write(np.ascontiguousarray(halve_band(band, form.average)).tobytes())
        for left in range(0, band.shape[1], form.tile):
            piece = band[:, left : left + form.tile]
            missing = [(0, form.tile - piece.shape[0]), (0, form.tile - piece.shape[1])]
            # Repeating the edge keeps JPEG's 8×8 blocks at the border free of ringing.
            yield np.pad(piece, missing + [(0, 0)] * (piece.ndim - 2), mode="edge")


def _page_settings(level: int, colour: bool, mpp: float, form: PyramidFormat) -> dict[str, Any]:
    pixels_per_cm = 1e4 / (mpp * 2**level)
    settings: dict[str, Any] = {
        "tile": (form.tile, form.tile),
        "buffersize": BUFFER_BYTES,
        "subfiletype": int(level > 0),
        "metadata": None,
        "software": "EP-SAM",
        "resolution": (pixels_per_cm, pixels_per_cm),
        "resolutionunit": "CENTIMETER",
        # The number that TIFF's supplement 2 gives it; plain "deflate" would be written as an older
        # one.
        "compression": "adobe_deflate" if form.compression == "deflate" else form.compression,
        "photometric": "rgb" if colour else "minisblack",
    }
    if form.compression == "jpeg":
        # "rgb" names what is given, not what is stored: tifffile converts to YCbCr with halved
        # chroma, as scanners do.
        settings["compressionargs"] = {"level": form.quality}
    return settings
