"""What one slide offers: every window of its grid measured, and those that may become patches."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from epsam.annotations.asap_reader import Annotations, read_annotations
from epsam.config.patches import PatchOptions
from epsam.core.errors import EpsamError, SlideError
from epsam.data.images import write_rgb
from epsam.extraction.discovery import SlideRecord
from epsam.extraction.sampling import (
    FractionRange,
    Fractions,
    Integers,
    make_candidate_grid,
    tile_sides_px0,
    tumour_fractions,
)
from epsam.extraction.thumbnail import draw_thumbnail, read_overview
from epsam.wsi.reader import Slide, open_slide
from epsam.wsi.tissue import TissueMask, find_tissue, tissue_fractions


@dataclass(frozen=True)
class CandidateTiles:
    """Windows of one slide that may become patches, as parallel arrays; corners and side in level-0
    pixels.
    """

    left_px0: Integers
    top_px0: Integers
    tumour: Fractions
    tissue: Fractions
    side_px0: int

    def __len__(self) -> int:
        return len(self.left_px0)

    def take(self, indices: Integers) -> "CandidateTiles":
        return CandidateTiles(
            self.left_px0[indices],
            self.top_px0[indices],
            self.tumour[indices],
            self.tissue[indices],
            self.side_px0,
        )


@dataclass(frozen=True)
class ScoredSlide:
    """What measuring a slide gave: its candidates, or the `error` for which it is left out. `mpp`
    is the patches'.
    """

    record: SlideRecord
    positives: CandidateTiles | None = None
    negatives: CandidateTiles | None = None
    windows: int = 0
    mpp: float | None = None
    notes: tuple[str, ...] = ()
    error: str = ""


def score_tiles(record: SlideRecord, options: PatchOptions, thumbnails: Path) -> ScoredSlide:
    """Measure every window of a slide from its outlines and its tissue; level 0 is not decoded.
    Writes a thumbnail.

    A slide that cannot be used comes back with its error instead of raising it, so that one does
    not stop the others.
    """
    try:
        outlines = read_annotations(record.annotations) if record.annotations else Annotations()
        with open_slide(require_slide_path(record), options.slide_mpp) as slide:
            return _measure(record, slide, outlines, options, thumbnails)
    except EpsamError as error:
        return ScoredSlide(record, error=" ".join(str(error).split()))


def _measure(
    record: SlideRecord,
    slide: Slide,
    outlines: Annotations,
    options: PatchOptions,
    thumbnails: Path,
) -> ScoredSlide:
    scale = level0_px_per_patch_px(slide, options.mpp)
    side_px0, stride_px0 = tile_sides_px0(options.patch_size, options.stride, scale)
    grid = make_candidate_grid(slide.width0, slide.height0, side_px0, stride_px0)
    if not grid.size:
        raise SlideError(
            f"{slide.path}: {slide.width0}×{slide.height0} px is smaller than a window of {side_px0} px; "
            "lower --patch_size or --mpp"
        )
    _check_inside(outlines, slide)
    tissue = find_tissue(slide)
    write_rgb(
        thumbnails / f"{record.name}.png",
        draw_thumbnail(read_overview(slide), tissue.mask, outlines, slide.width0),
    )
    tumour = tumour_fractions(outlines, grid).ravel()
    lefts, tops = np.meshgrid(grid.lefts_px0, grid.tops_px0)
    every = CandidateTiles(
        lefts.ravel(),
        tops.ravel(),
        tumour,
        tissue_fractions(tissue, grid.lefts_px0, grid.tops_px0, side_px0).ravel(),
        side_px0,
    )
    positive = FractionRange(options.min_tumour, options.max_tumour).holds(tumour)
    negative = (tumour == 0) & (every.tissue >= options.min_tissue) & record.unannotated_is_normal
    return ScoredSlide(
        record,
        every.take(np.flatnonzero(positive)),
        every.take(np.flatnonzero(negative)),
        grid.size,
        options.mpp or slide.mpp,
        _notes(outlines, tissue),
    )


def _notes(outlines: Annotations, tissue: TissueMask) -> tuple[str, ...]:
    dropped = f"{outlines.n_dropped} outlines without area dropped" if outlines.n_dropped else ""
    empty = "" if tissue.mask.any() else "no tissue found"
    return tuple(note for note in (dropped, empty) if note)


def level0_px_per_patch_px(slide: Slide, mpp: float) -> float:
    """How many level-0 pixels one patch pixel spans; 1 where no resolution is asked for.

    Raises SlideError if a resolution is asked for and that of the slide is unknown.
    """
    if not mpp:
        return 1.0
    if not slide.mpp:
        raise SlideError(
            f"{slide.path}: no pixel size in the file, which --mpp {mpp:g} needs; pass --slide_mpp"
        )
    return mpp / slide.mpp


def _check_inside(outlines: Annotations, slide: Slide) -> None:
    size = np.array([slide.width0, slide.height0])
    touching = [
        (shape.max(axis=0) > 0).all() and (shape.min(axis=0) < size).all()
        for shape in outlines.tumour
    ]
    if touching and not any(touching):
        raise SlideError(
            f"{slide.path}: all {len(outlines.tumour)} tumour outlines lie outside of its "
            f"{slide.width0}×{slide.height0} px; they belong to another slide or resolution"
        )


def require_slide_path(record: SlideRecord) -> Path:
    if record.path is None:
        raise SlideError(f"{record.name}: no slide for these outlines")
    return record.path
