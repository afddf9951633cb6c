"""An image as levels of square tiles, each level half as fine as the one above it (Deep Zoom)."""

from dataclasses import dataclass

TILE_PX = 256
"""This project: side of a tile, as whole slides mostly have them."""


@dataclass(frozen=True)
class TileBox:
    """A tile: its corner and the side of its square in the image's pixels, and the size of what of
    it lies in the image, in the tile's pixels.
    """

    left_px: int
    top_px: int
    downsample: int
    width: int
    height: int


@dataclass(frozen=True)
class ZoomLevels:
    """The levels of an image of width × height px: 0 is one pixel, `finest` the image itself."""

    width: int
    height: int

    @property
    def finest(self) -> int:
        return (max(self.width, self.height) - 1).bit_length()

    @property
    def coarsest(self) -> int:
        """The finest level that is one tile; coarser ones show nothing that it does not."""
        return min(self.finest, TILE_PX.bit_length() - 1)

    def find_tile(self, level: int, column: int, row: int) -> TileBox | None:
        """The tile at a place of a level; None if there is none."""
        if not self.coarsest <= level <= self.finest or column < 0 or row < 0:
            return None
        downsample = 1 << (self.finest - level)
        width = -(-self.width // downsample) - column * TILE_PX
        height = -(-self.height // downsample) - row * TILE_PX
        if width <= 0 or height <= 0:
            return None
        side = TILE_PX * downsample
        return TileBox(
            column * side, row * side, downsample, min(width, TILE_PX), min(height, TILE_PX)
        )

    def count_tiles(self, level: int) -> tuple[int, int]:
        """Columns and rows of a level."""
        side = TILE_PX << (self.finest - level)
        return -(-self.width // side), -(-self.height // side)
