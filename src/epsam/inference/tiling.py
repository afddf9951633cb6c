"""Images and slides as overlapping square tiles, and tiles blended into one probability map.

Tiles overlap and count most in their middle, since a model sees least context at its edge.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from epsam.core.errors import SlideError
from epsam.data.images import Rgb
from epsam.extraction.sampling import Fractions, Integers
from epsam.wsi.slide import Slide
from epsam.wsi.tissue import TissueMask, tissue_fractions
from epsam.wsi.writer import Pixels

Map = npt.NDArray[np.float32]

SAME_RESOLUTION = 0.01
"""This project: a level this near to the requested resolution is read as it is; files round their
pixel sizes.
"""


@dataclass(frozen=True)
class Tiling:
    """Tiles of `side` px over an image in memory; `corners_xy`: their top-left corners (x, y)."""

    height: int
    width: int
    side: int
    corners_xy: list[tuple[int, int]]

    @classmethod
    def over(cls, height: int, width: int, side: int, overlap: float) -> "Tiling":
        """Tiles in steps of side · (1 − overlap); the last of a row or column ends with the image.

        The order is row by row.
        """
        step = max(1, round(side * (1 - overlap)))
        lefts = tile_starts(width, side, step)
        corners_xy = []
        for top in tile_starts(height, side, step):
            corners_xy += [(left, top) for left in lefts]
        return cls(height, width, side, corners_xy)

    def crop_tiles(self, image: Rgb) -> list[Rgb]:
        """The tiles (side, side, 3); an image smaller than a tile is continued by reflection."""
        bottom, right = max(0, self.side - self.height), max(0, self.side - self.width)
        padded = image
        if bottom or right:
            border = cv2.BORDER_REFLECT
            padded = np.asarray(cv2.copyMakeBorder(image, 0, bottom, 0, right, border), np.uint8)
        return [
            np.ascontiguousarray(padded[y : y + self.side, x : x + self.side])
            for x, y in self.corners_xy
        ]

    def blend(self, maps: Map) -> Map:
        """The weighted mean (height, width) of maps (tiles, side, side) where tiles overlap."""
        height, width = max(self.height, self.side), max(self.width, self.side)
        total = np.zeros((height, width), np.float32)
        total_weight = np.zeros((height, width), np.float32)
        weights = blend_weights(self.side)
        for (x, y), tile_map in zip(self.corners_xy, maps, strict=True):
            total[y : y + self.side, x : x + self.side] += weights * tile_map
            total_weight[y : y + self.side, x : x + self.side] += weights
        # Every pixel lies in a tile, and no weight is 0.
        return (total / total_weight)[: self.height, : self.width]


@dataclass(frozen=True)
class TileGrid:
    """Overlapping square tiles over a slide, in the pixels of the result.

    The result has `height` × `width` px of `mpp` µm, each spanning `scale` level-0 pixels. A tile
    of `side` px begins at every pair of `lefts` and `tops`; `tissue` (tops, lefts) is its fraction
    of tissue.
    """

    height: int
    width: int
    scale: float
    mpp: float
    side: int
    lefts: Integers
    tops: Integers
    tissue: Fractions

    @property
    def n_tiles(self) -> int:
        return len(self.lefts) * len(self.tops)

    @property
    def side_px0(self) -> int:
        """Side of a tile in level-0 pixels."""
        return max(1, round(self.side * self.scale))

    def corner_px0(self, row: int, column: int) -> tuple[int, int]:
        """Top-left corner (x, y) of a tile in level-0 pixels."""
        return round(int(self.lefts[column]) * self.scale), round(int(self.tops[row]) * self.scale)

    def columns_with_tissue(self, row: int, min_tissue: float) -> list[int]:
        """Columns of the tiles of a row that hold at least this fraction of tissue, and some."""
        fractions = self.tissue[row]
        columns: list[int] = np.flatnonzero((fractions > 0) & (fractions >= min_tissue)).tolist()
        return columns

    def count_with_tissue(self, min_tissue: float) -> int:
        """Number of tiles that the classifier gets."""
        rows = range(len(self.tops))
        return sum(len(self.columns_with_tissue(row, min_tissue)) for row in rows)


def plan_tiles(slide: Slide, tissue: TissueMask, side: int, overlap: float, mpp: float) -> TileGrid:
    """Tiles of `side` px at `mpp` µm/px over the whole slide, with their fractions of tissue.

    The last tile of a row or column ends with the slide. Raises SlideError if the slide's pixel
    size is not known.
    """
    scale = _px0_per_px(slide, mpp)
    # A slide of exactly n px must not lose one to the rounding of the division.
    height = max(1, int(slide.height0 / scale + 1e-6))
    width = max(1, int(slide.width0 / scale + 1e-6))
    step = max(1, round(side * (1 - overlap)))
    lefts = np.array(tile_starts(width, side, step), dtype=np.int64)
    tops = np.array(tile_starts(height, side, step), dtype=np.int64)

    grid = TileGrid(
        height,
        width,
        scale,
        mpp=(slide.mpp or 0.0) * scale,
        side=side,
        lefts=lefts,
        tops=tops,
        tissue=np.zeros((len(tops), len(lefts))),
    )
    lefts_px0 = np.rint(lefts * scale).astype(np.int64)
    tops_px0 = np.rint(tops * scale).astype(np.int64)
    return replace(grid, tissue=tissue_fractions(tissue, lefts_px0, tops_px0, grid.side_px0))


def _px0_per_px(slide: Slide, mpp: float) -> float:
    if not slide.mpp:
        raise SlideError(f"{slide.path}: no pixel size in the file; pass --slide_mpp")
    requested = mpp / slide.mpp
    for level in slide.levels:
        if abs(requested / level.downsample - 1) <= SAME_RESOLUTION:
            return level.downsample
    return requested


def tile_starts(length: int, side: int, step: int) -> list[int]:
    """Where tiles begin along one axis: in steps, the last so that it ends with the image."""
    last = max(0, length - side)
    return [*range(0, last, step), last]


def blend_weights(side: int) -> Map:
    """Weight of each pixel of a tile (side, side): its distance to the edge, 1 at the edge."""
    ramp = np.minimum(np.arange(1, side + 1), np.arange(side, 0, -1)).astype(np.float32)
    return np.minimum.outer(ramp, ramp)


class BandBlender:
    """`Tiling.blend` for a slide: holds only the `side` rows that tiles may still add to."""

    def __init__(self, width: int, side: int) -> None:
        self._width = width
        self._weights = blend_weights(side)
        self._total = np.zeros((side, max(width, side)), np.float32)
        self._total_weight = np.zeros_like(self._total)
        self._is_empty = True

    def add(self, left: int, probability: Map | None) -> None:
        """Add a tile (side, side) whose top is the first held row; None counts as 0 everywhere."""
        columns = slice(left, left + len(self._weights))
        self._total_weight[:, columns] += self._weights
        self._is_empty = False
        if probability is not None:
            self._total[:, columns] += self._weights * probability

    def release(self, rows: int) -> Pixels:
        """The first `rows` held rows as uint8; the top of the next tile is the row after them."""
        if self._is_empty:
            return np.zeros((rows, self._width), np.uint8)
        total = self._total[:rows, : self._width]
        total_weight = self._total_weight[:rows, : self._width]
        # Where no tile has tissue the weight is 0, and so stays the probability.
        np.divide(total, total_weight, out=total, where=total_weight > 0)
        released = probability_to_bytes(total)

        self._is_empty = not self._total_weight[rows:].any()
        for array in (self._total, self._total_weight):
            # Row by row: numpy would copy the whole strip to move it within itself.
            for row in range(len(array) - rows):
                array[row] = array[row + rows]
            array[len(array) - rows :] = 0
        return released


def probability_to_bytes(probability: Map) -> Pixels:
    """Probabilities as 0..255, above 127 exactly where above 0.5; overwrites its argument."""
    np.multiply(probability, 255, out=probability)
    np.subtract(probability, 0.5, out=probability)
    return np.asarray(np.ceil(probability, out=probability).astype(np.uint8))
