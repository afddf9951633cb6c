"""The windows of a slide at the resolution that the classifier was trained at."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from epsam.core.errors import SlideError
from epsam.extraction.sampling import Fractions, Integers
from epsam.inference.tiling import starts
from epsam.wsi.slide import Slide
from epsam.wsi.tissue import TissueMask, tissue_fractions

SAME_RESOLUTION = 0.01
"""Ours: a level this near to the wanted resolution is read as it is; files round their pixel
sizes.
"""


@dataclass(frozen=True)
class TileGrid:
    """Overlapping square windows over a slide, in the pixels of the result.

    The result has `height` × `width` px of `mpp` µm, each spanning `scale` level-0 pixels. A window
    of `side` px begins at every pair of `lefts` and `tops`; `tissue` (tops, lefts) is its share of
    tissue.
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
    def windows(self) -> int:
        return len(self.lefts) * len(self.tops)

    def with_tissue(self, min_tissue: float) -> int:
        """How many windows are looked at."""
        return sum(len(tissue_columns(self, row, min_tissue)) for row in range(len(self.tops)))

    @property
    def side_px0(self) -> int:
        """Side of a window in level-0 pixels."""
        return max(1, round(self.side * self.scale))

    def corner_px0(self, row: int, column: int) -> tuple[int, int]:
        """Top-left corner (x, y) of a window in level-0 pixels."""
        return round(int(self.lefts[column]) * self.scale), round(int(self.tops[row]) * self.scale)

    def px0(self, starts_px: Integers) -> Integers:
        """Where windows begin in level-0 pixels."""
        return np.asarray(np.rint(starts_px * self.scale), dtype=np.int64)


def plan_tiles(slide: Slide, tissue: TissueMask, side: int, overlap: float, mpp: float) -> TileGrid:
    """Windows of `side` px at `mpp` µm/px over the whole slide; the last of a row or column ends
    with the slide.

    Raises SlideError if the slide's pixel size is not known.
    """
    scale = _scale(slide, mpp)
    height, width = (max(1, int(length / scale + 1e-6)) for length in (slide.height0, slide.width0))
    step = max(1, round(side * (1 - overlap)))
    lefts, tops = (
        np.array(starts(length, side, step), dtype=np.int64) for length in (width, height)
    )
    empty = TileGrid(
        height, width, scale, (slide.mpp or 0.0) * scale, side, lefts, tops, np.zeros((0, 0))
    )
    share = tissue_fractions(tissue, empty.px0(lefts), empty.px0(tops), empty.side_px0)
    return TileGrid(height, width, scale, empty.mpp, side, lefts, tops, share)


def _scale(slide: Slide, mpp: float) -> float:
    if not slide.mpp:
        raise SlideError(f"{slide.path}: no pixel size in the file; pass --slide_mpp")
    wanted = mpp / slide.mpp
    for level in slide.levels:
        if abs(wanted / level.downsample - 1) <= SAME_RESOLUTION:
            return level.downsample
    return wanted


def tissue_columns(grid: TileGrid, row: int, min_tissue: float) -> npt.NDArray[np.int64]:
    """The columns of the windows of a row that hold enough tissue to be looked at; one pixel of it
    at least.
    """
    return np.flatnonzero((grid.tissue[row] > 0) & (grid.tissue[row] >= min_tissue))
