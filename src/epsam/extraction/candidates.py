"""Candidate tiles of one slide: every tile of its grid scored by tumour and tissue fraction."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from epsam.annotations.groups import has_area
from epsam.annotations.polygons import Annotations
from epsam.annotations.reader import read_annotation_file
from epsam.config.patches import PatchOptions
from epsam.core.errors import AnnotationError, EpsamError, SlideError
from epsam.data.images import write_rgb
from epsam.extraction.discovery import SlideRecord
from epsam.extraction.sampling import (
    CandidateGrid,
    FractionRange,
    Fractions,
    Integers,
    make_candidate_grid,
    tile_side_and_stride_px0,
    tumour_fractions,
)
from epsam.extraction.thumbnail import draw_thumbnail, read_overview
from epsam.wsi.reader import Slide, open_slide
from epsam.wsi.tissue import TissueMask, find_tissue, tissue_fractions


@dataclass(frozen=True)
class CandidateTiles:
    """Tiles of one slide that may become patches, as parallel arrays (N,).

    Left and top edges and the side are in level-0 pixels.
    """

    left_px0: Integers
    top_px0: Integers
    tumour_fraction: Fractions
    tissue_fraction: Fractions
    side_px0: int

    @classmethod
    def none(cls) -> "CandidateTiles":
        """No tiles, as of a slide that could not be scored."""
        no_edges, no_fractions = np.empty(0, dtype=np.int64), np.empty(0)
        return cls(no_edges, no_edges, no_fractions, no_fractions, 0)

    def __len__(self) -> int:
        return len(self.left_px0)

    def select(self, indices: Integers) -> "CandidateTiles":
        return CandidateTiles(
            self.left_px0[indices],
            self.top_px0[indices],
            self.tumour_fraction[indices],
            self.tissue_fraction[indices],
            self.side_px0,
        )


@dataclass(frozen=True)
class ScoredSlide:
    """The candidates of one slide, or the `error` for which it fails.

    `n_tiles`: size of the whole grid. `patch_mpp`: pixel size of its patches in µm, None if
    unknown. `notes`: oddities for slides.csv.
    """

    record: SlideRecord
    positives: CandidateTiles = field(default_factory=CandidateTiles.none)
    negatives: CandidateTiles = field(default_factory=CandidateTiles.none)
    n_tiles: int = 0
    patch_mpp: float | None = None
    notes: tuple[str, ...] = ()
    error: str = ""


def score_tiles(record: SlideRecord, options: PatchOptions, thumbnails: Path) -> ScoredSlide:
    """Score every tile of a slide from its annotations and its tissue mask; write a thumbnail.

    Level 0 is not decoded. A slide that cannot be used is returned with its error instead of
    raising it, so that one slide does not stop the others.
    """
    try:
        annotations = load_annotations(record)
        with open_slide(require_slide_path(record), options.slide_mpp) as slide:
            return _score_open_slide(record, slide, annotations, options, thumbnails)
    except EpsamError as error:
        # One line, as it goes into a cell of slides.csv.
        return ScoredSlide(record, error=" ".join(str(error).split()))


def _score_open_slide(
    record: SlideRecord,
    slide: Slide,
    annotations: Annotations,
    options: PatchOptions,
    thumbnails: Path,
) -> ScoredSlide:
    grid = _make_grid(slide, options)
    # Before the pixels are read, which takes by far the longest.
    _check_inside(annotations, slide)
    tissue = find_tissue(slide)
    thumbnail = draw_thumbnail(read_overview(slide), tissue.mask, annotations, slide.width0)
    write_rgb(thumbnails / f"{record.name}.png", thumbnail)

    # Row by row, in the order in which the fractions are flattened below.
    lefts, tops = np.meshgrid(grid.lefts_px0, grid.tops_px0)
    tiles = CandidateTiles(
        lefts.ravel(),
        tops.ravel(),
        tumour_fractions(annotations, grid).ravel(),
        tissue_fractions(tissue, grid.lefts_px0, grid.tops_px0, grid.side_px0).ravel(),
        grid.side_px0,
    )

    # Tiles with a little tumour, at most min_tumour, are neither: their label would be ambiguous.
    positive_range = FractionRange(options.min_tumour, options.max_tumour)
    is_positive = positive_range.contains(tiles.tumour_fraction)
    # A patch of glass would teach to find tissue (docs/deviations.md, "Tissue of negatives").
    is_tissue = tiles.tissue_fraction >= options.min_tissue
    is_negative = (tiles.tumour_fraction == 0) & is_tissue & record.unannotated_is_normal
    if annotations.ungrouped:
        # Nobody says what these outline: tumour, perhaps.
        unclear = tumour_fractions(Annotations(annotations.ungrouped), grid).ravel()
        is_negative &= unclear == 0
    return ScoredSlide(
        record,
        positives=tiles.select(np.flatnonzero(is_positive)),
        negatives=tiles.select(np.flatnonzero(is_negative)),
        n_tiles=grid.n_tiles,
        patch_mpp=options.mpp or slide.mpp,
        notes=_list_notes(annotations, tissue),
    )


def _make_grid(slide: Slide, options: PatchOptions) -> CandidateGrid:
    scale = level0_px_per_patch_px(slide, options.mpp)
    side_px0, stride_px0 = tile_side_and_stride_px0(options.patch_size, options.stride, scale)
    grid = make_candidate_grid(slide.width0, slide.height0, side_px0, stride_px0)
    if not grid.n_tiles:
        raise SlideError(
            f"{slide.path}: {slide.width0}×{slide.height0} px is smaller than a window of "
            f"{side_px0} px; lower --patch_size or --mpp"
        )
    return grid


def _list_notes(annotations: Annotations, tissue: TissueMask) -> tuple[str, ...]:
    notes = []
    if annotations.n_dropped:
        notes.append(f"{annotations.n_dropped} outlines without area dropped")
    if annotations.ungrouped:
        notes.append(f"{len(annotations.ungrouped)} outlines without a group give no negatives")
    if not tissue.mask.any():
        notes.append("no tissue found")
    return tuple(notes)


def level0_px_per_patch_px(slide: Slide, mpp: float) -> float:
    """How many level-0 pixels one patch pixel spans; 1 if `mpp` is 0, for patches at level 0.

    Raises SlideError if a resolution is requested and that of the slide is unknown.
    """
    if not mpp:
        return 1.0
    if not slide.mpp:
        raise SlideError(
            f"{slide.path}: no pixel size in the file, which --mpp {mpp:g} needs; pass --slide_mpp"
        )
    return mpp / slide.mpp


def _check_inside(annotations: Annotations, slide: Slide) -> None:
    """Raise SlideError if there are tumour annotations and none of them touches the slide."""
    size = np.array([slide.width0, slide.height0])
    for polygon in annotations.tumour:
        if (polygon.max(axis=0) > 0).all() and (polygon.min(axis=0) < size).all():
            return
    if annotations.tumour:
        raise SlideError(
            f"{slide.path}: all {len(annotations.tumour)} tumour outlines lie outside of its "
            f"{slide.width0}×{slide.height0} px; they belong to another slide or resolution"
        )


def load_annotations(record: SlideRecord) -> Annotations:
    """The annotations of a slide, empty if it has no file.

    Raises AnnotationError on a bad file, and on one without any tumour unless the slide is said to
    be normal: nobody knows what such a slide holds (docs/deviations.md, "Negatives").
    """
    if record.annotations is None:
        return Annotations()
    annotations = read_annotation_file(record.annotations, record.groups)
    if record.is_normal or any(has_area(polygon) for polygon in annotations.tumour):
        return annotations
    # What is left among the tumour polygons has no area: they are lines, as the dropped ones are.
    # Polygons without a group were sorted among the holes, and are told apart here.
    n_lines = annotations.n_dropped + len(annotations.tumour)
    n_ungrouped = len(annotations.ungrouped)
    n_holes = len(annotations.holes) - n_ungrouped
    raise AnnotationError(
        f"{record.annotations}: no tumour area in it ({n_holes} holes, "
        f"{n_ungrouped} outlines without a group, {n_lines} dots or lines); outline the tumour, or "
        "label the slide normal in splits.csv or slide_labels.csv"
    )


def require_slide_path(record: SlideRecord) -> Path:
    """The slide's file; raises SlideError if there are only annotations."""
    if record.path is None:
        raise SlideError(f"{record.name}: no slide for these outlines")
    return record.path
