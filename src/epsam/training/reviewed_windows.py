"""Where patches are cut from a corrected slide or image: the windows with a reviewed area."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from epsam.core.errors import SlideError
from epsam.corrections.patches import PatchPlace, touches_place
from epsam.corrections.shapes import CorrectedShape, TrustedPixels, paint_shapes
from epsam.extraction.sampling import CandidateGrid, make_candidate_grid
from epsam.wsi.image_file import ImageFile
from epsam.wsi.reader import Slide
from epsam.wsi.tissue import find_tissue, tissue_fractions

MIN_REVIEWED = 0.05
"""This project: a window with less of its pixels reviewed is no patch, as it holds a sliver."""
MAX_PATCHES = 500
"""This project: most patches of one slide with tumour, and as many without."""


@dataclass(frozen=True)
class PatchGeometry:
    """Side of the patches in px, their pixel size in µm (None: level 0 as it is), the pixel size of
    slides that state none, and the least fraction of tissue in a patch without tumour.
    """

    side: int
    mpp: float | None
    slide_mpp: float
    min_tissue: float


@dataclass(frozen=True)
class ReviewedWindow:
    """A window of a slide with a reviewed area: where it lies, and its fraction of tumour."""

    place: PatchPlace
    tumour: float


def choose_windows(
    slide: Slide, name: str, shapes: Sequence[CorrectedShape], geometry: PatchGeometry
) -> list[ReviewedWindow]:
    """The windows of a grid that have a reviewed area: those with tumour, and of the others those
    on tissue; evenly spaced ones if they are too many. Of a plain image all of it counts as tissue.

    Raises SlideError if the slide is smaller than a window, or of unknown pixel size.
    """
    grid = _make_grid(slide, geometry)
    with_tumour: list[ReviewedWindow] = []
    without: list[ReviewedWindow] = []
    for place in _places_near(shapes, grid, name):
        pixels = paint_place(shapes, place, geometry.side)
        if pixels.reviewed.mean() < MIN_REVIEWED:
            continue
        window = ReviewedWindow(place, float(pixels.tumour.mean()))
        (with_tumour if window.tumour else without).append(window)
    if without and not isinstance(slide, ImageFile):
        without = _on_tissue(slide, grid, without, geometry.min_tissue)
    return [*_spread(with_tumour), *_spread(without)]


def paint_place(shapes: Sequence[CorrectedShape], place: PatchPlace, side: int) -> TrustedPixels:
    """What a person has said of the pixels (side, side) at a place of a slide."""
    near = [shape for shape in shapes if touches_place(shape, place)]
    scale = place.side_px0 / side
    return paint_shapes(near, place.left_px0, place.top_px0, side, side, scale)


def _make_grid(slide: Slide, geometry: PatchGeometry) -> CandidateGrid:
    """Windows side by side. Those of a plain image reach its right and lower border, where they lie
    over their neighbours.
    """
    is_image = isinstance(slide, ImageFile)
    scale = 1.0
    if geometry.mpp and slide.mpp:
        scale = geometry.mpp / slide.mpp
    elif geometry.mpp and not is_image:
        # As in inference, an image that states no pixel size is taken for one of the patches'.
        raise SlideError(
            f"{slide.path}: no pixel size in the file, which patches of {geometry.mpp:g} µm/px "
            "need; write it into the file, or remove its corrections"
        )
    side_px0 = max(1, round(geometry.side * scale))
    grid = make_candidate_grid(slide.width0, slide.height0, side_px0, side_px0)
    if not grid.n_tiles:
        raise SlideError(
            f"{slide.path}: {slide.width0}×{slide.height0} px is smaller than a patch of "
            f"{side_px0} px; remove its corrections"
        )
    if not is_image:
        return grid
    lefts = _reach_border(grid.lefts_px0, slide.width0 - side_px0)
    tops = _reach_border(grid.tops_px0, slide.height0 - side_px0)
    return CandidateGrid(lefts, tops, side_px0)


def _reach_border(edges_px0: npt.NDArray[np.int64], last_px0: int) -> npt.NDArray[np.int64]:
    """The edges, and the last one that fits."""
    return np.union1d(edges_px0, np.array([last_px0], dtype=np.int64))


def _places_near(
    shapes: Sequence[CorrectedShape], grid: CandidateGrid, name: str
) -> Iterator[PatchPlace]:
    """The windows of the grid that the boxes round the shapes touch, in reading order."""
    touched = np.zeros((len(grid.tops_px0), len(grid.lefts_px0)), dtype=np.bool_)
    for shape in shapes:
        low, high = shape.polygon.min(axis=0), shape.polygon.max(axis=0)
        in_columns = (grid.lefts_px0 < high[0]) & (grid.lefts_px0 + grid.side_px0 > low[0])
        in_rows = (grid.tops_px0 < high[1]) & (grid.tops_px0 + grid.side_px0 > low[1])
        touched[np.ix_(in_rows, in_columns)] = True
    for row, column in np.argwhere(touched):
        left, top = float(grid.lefts_px0[column]), float(grid.tops_px0[row])
        yield PatchPlace(name, "train", left, top, grid.side_px0)


def _on_tissue(
    slide: Slide, grid: CandidateGrid, windows: Sequence[ReviewedWindow], min_tissue: float
) -> list[ReviewedWindow]:
    """The windows with enough tissue; a patch of glass would teach nothing."""
    fractions = tissue_fractions(find_tissue(slide), grid.lefts_px0, grid.tops_px0, grid.side_px0)
    on_tissue = []
    for window in windows:
        row = round(window.place.top_px0) // grid.side_px0
        column = round(window.place.left_px0) // grid.side_px0
        if fractions[row, column] >= min_tissue:
            on_tissue.append(window)
    return on_tissue


def _spread(windows: Sequence[ReviewedWindow]) -> list[ReviewedWindow]:
    """At most `MAX_PATCHES` of the windows, evenly spaced."""
    if len(windows) <= MAX_PATCHES:
        return list(windows)
    chosen = np.linspace(0, len(windows) - 1, MAX_PATCHES).round().astype(int)
    return [windows[index] for index in chosen]
