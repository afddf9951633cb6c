"""Reading a result pyramid of a slide band by band, since it may not fit into memory."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile

from epsam.wsi import writer
from epsam.wsi.writer import Pixels


def read_bands(path: Path) -> Iterator[Pixels]:
    """Level 0 of a grey tiled TIFF from `write_pyramid`, a row of TIFF tiles at a time."""
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        height, width = page.shape
        rows, columns = int(page.tilelength), int(page.tilewidth)
        band = np.zeros((min(rows, height), width), np.uint8)
        tiles_across = -(-width // columns)
        # With more workers, tifffile would decode ahead and hold more tiles.
        segments = page.segments(maxworkers=1, buffersize=writer.BUFFER_BYTES)
        for number, (pixels, _, _) in enumerate(segments):
            tile_row, tile_column = divmod(number, tiles_across)
            top, left = tile_row * rows, tile_column * columns
            # The last tiles of a row or column reach beyond the image.
            tile = pixels[0, : height - top, : width - left, 0]
            band[: len(tile), left : left + tile.shape[1]] = tile
            if tile_column == tiles_across - 1:
                # A copy, since the next row of tiles overwrites the buffer.
                yield band[: height - top].copy()
