"""Select the tiles that become patches, over all slides of a split together."""

import logging
from collections.abc import Sequence

import numpy as np

from epsam.config.patches import PatchOptions
from epsam.core.errors import DatasetError
from epsam.extraction.candidates import CandidateTiles, ScoredSlide
from epsam.extraction.sampling import (
    FractionRange,
    Integers,
    PatchLimits,
    choose_negatives,
    choose_positives,
    limits_per_split,
    positive_limit,
)
from epsam.extraction.write_patches import TileSelection

log = logging.getLogger(__name__)


def check_tumour_range(options: PatchOptions) -> None:
    """Raise DatasetError on a range of tumour fractions in which no tile can be positive."""
    if options.max_tumour <= options.min_tumour:
        raise DatasetError(
            f"--max_tumour {options.max_tumour:g}: not above --min_tumour {options.min_tumour:g}, "
            "so that no patch could be positive; raise it"
        )


def select_tiles(scored: Sequence[ScoredSlide], options: PatchOptions) -> list[TileSelection]:
    """Select the tiles to extract, one selection for each slide that has any, split by split.

    Where fewer candidates exist than the limits allow, all are selected. Slides with an error are
    left out. Raises DatasetError if a split has no slide, no positive or no negative.
    """
    selections: list[TileSelection] = []
    for split, limits in limits_per_split(options).items():
        slides = [slide for slide in scored if slide.record.split == split and not slide.error]
        # This key makes the selection of a split independent of the other splits.
        in_split = _select_in_split(slides, limits, (options.seed, "patches", split))
        _check_split(split, slides, in_split, options)
        _log_split(split, in_split, limits, options)
        for selection in in_split:
            if len(selection.positives) or len(selection.negatives):
                selections.append(selection)
    return selections


def _select_in_split(
    slides: Sequence[ScoredSlide], limits: PatchLimits, key: Sequence[int | str]
) -> list[TileSelection]:
    positives = [slide.positives for slide in slides]
    negatives = [slide.negatives for slide in slides]
    fractions = np.concatenate([np.empty(0), *(tiles.tumour_fraction for tiles in positives)])
    n_negatives = sum(len(tiles) for tiles in negatives)

    chosen_positives = _select_per_slide(positives, choose_positives(fractions, limits, key))
    chosen_negatives = _select_per_slide(negatives, choose_negatives(n_negatives, limits, key))

    selections = []
    for number, slide in enumerate(slides):
        selections.append(
            TileSelection(
                slide.record, chosen_positives[number], chosen_negatives[number], slide.patch_mpp
            )
        )
    return selections


def _select_per_slide(
    tiles_per_slide: Sequence[CandidateTiles], chosen: Integers
) -> list[CandidateTiles]:
    """The chosen tiles of each slide; `chosen` indexes the tiles of all slides in their order."""
    selected = []
    first = 0
    for tiles in tiles_per_slide:
        end = first + len(tiles)
        in_slide = chosen[(chosen >= first) & (chosen < end)]
        selected.append(tiles.select(in_slide - first))
        first = end
    return selected


def _check_split(
    split: str,
    slides: Sequence[ScoredSlide],
    selections: Sequence[TileSelection],
    options: PatchOptions,
) -> None:
    table = f"{options.dataset_root}/{options.dataset_type}/splits.csv"
    if not slides:
        raise DatasetError(
            f"{split}: no slide; add slides or say in {table} (columns slide,split) which is where"
        )
    n_tiles = sum(slide.n_tiles for slide in slides)
    remedy = f"or give {split} another slide in {table}"
    if not any(len(selection.positives) for selection in selections):
        raise DatasetError(
            f"{split}: no positive among {n_tiles} tiles of {len(slides)} slides (tumour fraction "
            f"between {options.min_tumour:g} and {options.max_tumour:g}); lower --min_tumour, "
            f"raise --max_tumour, {remedy}"
        )
    if not any(len(selection.negatives) for selection in selections):
        raise DatasetError(
            f"{split}: no negative among {n_tiles} tiles of {len(slides)} slides (no tumour, "
            f"tissue fraction at least {options.min_tissue:g}); lower --min_tissue, {remedy}"
        )


def _log_split(
    split: str, selections: Sequence[TileSelection], limits: PatchLimits, options: PatchOptions
) -> None:
    positive_range = FractionRange(options.min_tumour, options.max_tumour)
    n_positives = sum(len(selection.positives) for selection in selections)
    n_negatives = sum(len(selection.negatives) for selection in selections)
    log.info(
        "%s: %d slides, %s, %s",
        split,
        len(selections),
        _format_count(n_positives, positive_limit(limits, positive_range), "positives"),
        _format_count(n_negatives, limits.negatives, "negatives"),
    )


def _format_count(count: int, limit: int, kind: str) -> str:
    shortage = f" (fewer than the {limit} asked for)" if count < limit else ""
    return f"{count} {kind}{shortage}"
