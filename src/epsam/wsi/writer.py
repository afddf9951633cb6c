"""Writing whole-slide images as tiled, pyramidal TIFF, for OpenSlide, QuPath and `tifffile`.

Levels are consecutive pages of one file, and the reduced ones are marked as such (NewSubfileType
1). OpenSlide calls this form generic tiled TIFF.
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

MAX_CLASSIC_TIFF_BYTES = 2 << 30
"""Raw bytes of level 0 above which the file is a BigTIFF: half of what classic TIFF can address,
which leaves room for the levels and the tags.
"""

BUFFER_BYTES = 1 << 24
"""Bytes of tiles that tifffile may gather at a time (this project); its own limit is 256 MB."""


@dataclass(frozen=True)
class PyramidFormat:
    """How a slide is stored.

    `tile` is the side of a tile, px, a multiple of 16. `compression` is "jpeg" (RGB or grey, with
    `quality` 1–100) or "deflate" (lossless). `levels` is the number of levels, 0: halve until a
    level fits into one tile. With `average`, a reduced pixel is the mean of the four below it
    (images); without, it is one of them (masks, whose values must not mix).
    """

    tile: int = 256
    compression: str = "jpeg"
    quality: int = 88
    levels: int = 0
    average: bool = True


def write_slide(
    path: Path, image: Pixels, mpp: float, pyramid_format: PyramidFormat | None = None
) -> None:
    """Write an image in memory, RGB (height, width, 3) or grey (height, width), as `write_pyramid`
    does.
    """
    pyramid_format = pyramid_format or PyramidFormat()
    bands = split_bands(image, pyramid_format.tile)
    write_pyramid(path, bands, image.shape, mpp, pyramid_format)


def write_pyramid(
    path: Path,
    bands: Iterable[Pixels],
    shape: tuple[int, ...],
    mpp: float,
    pyramid_format: PyramidFormat | None = None,
) -> None:
    """Write a slide from top to bottom, whole or not at all; memory holds one band of tiles,
    whatever the slide's size.

    `bands` are uint8 row bands of level 0, each `pyramid_format.tile` rows high (the last one may
    be lower); `shape` is level 0's (height, width, 3) or (height, width); `mpp` its pixel size, µm.
    Every level has half the sides of the one before, rounded down, so the downsample is a power of
    two. Raises SlideError if the bands do not add up to `shape`.
    """
    pyramid_format = pyramid_format or PyramidFormat()
    is_big = int(np.prod(shape)) > MAX_CLASSIC_TIFF_BYTES
    # A level can be written only after the one before it, yet is computed along with it: it waits
    # uncompressed in a file beside `path`, which memory need not hold.
    with (
        whole_file(path) as temporary,
        TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}.") as folder,
        tifffile.TiffWriter(temporary, bigtiff=is_big) as writer,
    ):
        for level in range(number_of_levels(shape, pyramid_format)):
            reduced_path = Path(folder) / f"{level + 1}"
            with reduced_path.open("wb") as reduced:
                checked_bands = _check_bands(bands, shape, pyramid_format.tile, path.name)
                tiles = _split_tiles(checked_bands, pyramid_format, reduced)
                settings = _page_settings(level, len(shape) == 3, mpp, pyramid_format)
                writer.write(tiles, shape=shape, dtype=np.uint8, **settings)
            shape = (shape[0] // 2, shape[1] // 2, *shape[2:])
            bands = _read_bands(reduced_path, pyramid_format.tile, shape)


def number_of_levels(shape: tuple[int, ...], pyramid_format: PyramidFormat) -> int:
    """Number of levels that are written: as many as `pyramid_format` says, or until one tile holds
    the level, but none without pixels.
    """
    height, width = shape[:2]
    largest = min(height, width).bit_length()
    needed = 1
    while max(height, width) > pyramid_format.tile << (needed - 1):
        needed += 1
    return min(pyramid_format.levels or needed, largest)


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
    halved = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(halved, dtype=np.uint8)


def regroup_bands(bands: Iterable[Pixels], rows: int) -> Iterator[Pixels]:
    """Bands of any height as bands of `rows` rows; the last one may be lower. Memory: one band of
    each kind.
    """
    pieces: list[Pixels] = []
    missing = rows
    for band in bands:
        while band.shape[0]:
            piece, band = band[:missing], band[missing:]
            pieces.append(piece)
            missing -= len(piece)
            if not missing:
                yield np.concatenate(pieces)
                pieces = []
                missing = rows
    if pieces:
        yield np.concatenate(pieces)


def _read_bands(path: Path, rows: int, shape: tuple[int, ...]) -> Iterator[Pixels]:
    """A reduced level from its file, one band at a time."""
    # Not mapped into memory: the pages of a map would count as memory of this process.
    with path.open("rb") as stream:
        for top in range(0, shape[0], rows):
            height = min(rows, shape[0] - top)
            content = stream.read(height * int(np.prod(shape[1:])))
            yield np.frombuffer(content, dtype=np.uint8).reshape(height, *shape[1:])


def _check_bands(
    bands: Iterable[Pixels], shape: tuple[int, ...], rows: int, name: str
) -> Iterator[Pixels]:
    """The bands as they are. Raises SlideError at the first one of another shape than expected."""
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


def _split_tiles(
    bands: Iterable[Pixels], pyramid_format: PyramidFormat, reduced: BinaryIO
) -> Iterator[Pixels]:
    """Full tiles in reading order; writes the next level to `reduced` on the way."""
    side = pyramid_format.tile
    for band in bands:
        halved = halve_band(band, pyramid_format.average)
        reduced.write(np.ascontiguousarray(halved).tobytes())
        for left in range(0, band.shape[1], side):
            piece = band[:, left : left + side]
            padding = [(0, side - piece.shape[0]), (0, side - piece.shape[1])]
            padding += [(0, 0)] * (piece.ndim - 2)
            # Repeating the edge keeps JPEG's 8×8 blocks at the border free of ringing.
            yield np.pad(piece, padding, mode="edge")


def _page_settings(
    level: int, is_colour: bool, mpp: float, pyramid_format: PyramidFormat
) -> dict[str, Any]:
    """Arguments of tifffile's `write` for one level."""
    pixels_per_cm = 1e4 / (mpp * 2**level)
    compression = pyramid_format.compression
    if compression == "deflate":
        # TIFF's supplement 2 gives it the number 8; tifffile's plain "deflate" is an older one.
        compression = "adobe_deflate"

    settings: dict[str, Any] = {
        "tile": (pyramid_format.tile, pyramid_format.tile),
        "buffersize": BUFFER_BYTES,
        "subfiletype": int(level > 0),
        "metadata": None,
        "software": "EP-SAM",
        "resolution": (pixels_per_cm, pixels_per_cm),
        "resolutionunit": "CENTIMETER",
        "compression": compression,
        # This names what tifffile is handed, not what it stores: JPEG is converted to YCbCr with
        # halved chroma, as scanners do.
        "photometric": "rgb" if is_colour else "minisblack",
    }
    if compression == "jpeg":
        settings["compressionargs"] = {"level": pyramid_format.quality}
    return settings
