"""Select the tiles that become patches, over all slides of a split together."""

import logging
from collections.abc import Sequence

import numpy as np

from epsam.config.patches import PatchOptions
from epsam.core.errors import DatasetError
from epsam.extraction.candidates import CandidateTiles, ScoredSlide
from epsam.extraction.resolutions import REFUSE_RATIO, WARN_RATIO, describe_mixture
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


def require_one_magnification(scored: Sequence[ScoredSlide]) -> None:
    """Log slides whose patches differ in pixel size by 10 % or more.

    Raises DatasetError from 1.5 times on: a classifier cannot tell a magnification from a tissue.
    """
    sizes_um = []
    for slide in scored:
        if slide.patch_mpp and not slide.error:
            sizes_um.append(slide.patch_mpp)
    ratio, counts = describe_mixture(sizes_um)
    if ratio >= REFUSE_RATIO:
        raise DatasetError(
            f"slides of different pixel size: {counts}; give --mpp, at which patches are made"
        )
    if ratio >= WARN_RATIO:
        log.warning("slides of different pixel size: %s; --mpp makes patches of one", counts)


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
        n_positives = sum(len(selection.positives) for selection in in_split)
        n_negatives = sum(len(selection.negatives) for selection in in_split)
        _check_split(split, slides, n_positives, n_negatives, options)

        positive_range = FractionRange(options.min_tumour, options.max_tumour)
        log.info(
            "%s: %d slides, %s, %s",
            split,
            len(slides),
            _format_count(n_positives, positive_limit(limits, positive_range), "positives"),
            _format_count(n_negatives, limits.negatives, "negatives"),
        )
        for selection in in_split:
            if len(selection.positives) or len(selection.negatives):
                selections.append(selection)
    return selections


def _select_in_split(
    slides: Sequence[ScoredSlide], limits: PatchLimits, key: Sequence[int | str]
) -> list[TileSelection]:
    """One selection for each slide, from the candidates of all slides taken together."""
    # Without slides there is still an array to choose from.
    fractions, n_negatives = [np.empty(0)], 0
    for slide in slides:
        fractions.append(slide.positives.tumour_fraction)
        n_negatives += len(slide.negatives)
    chosen_positives = choose_positives(np.concatenate(fractions), limits, key)
    chosen_negatives = choose_negatives(n_negatives, limits, key)

    # The chosen indices run over the tiles of all slides in their order.
    selections = []
    first_positive = first_negative = 0
    for slide in slides:
        positives = _select_from(slide.positives, chosen_positives, first_positive)
        negatives = _select_from(slide.negatives, chosen_negatives, first_negative)
        selections.append(TileSelection(slide.record, positives, negatives, slide.patch_mpp))
        first_positive += len(slide.positives)
        first_negative += len(slide.negatives)
    return selections


def _select_from(tiles: CandidateTiles, chosen: Integers, first: int) -> CandidateTiles:
    """Those of a slide's tiles that `chosen` names; `first` is the index of its first tile."""
    in_slide = chosen[(chosen >= first) & (chosen < first + len(tiles))]
    return tiles.select(in_slide - first)


def _check_split(
    split: str,
    slides: Sequence[ScoredSlide],
    n_positives: int,
    n_negatives: int,
    options: PatchOptions,
) -> None:
    """Raise DatasetError if a split has no slide, no positive or no negative."""
    table = f"{options.dataset_root}/{options.dataset_type}/splits.csv"
    if not slides:
        raise DatasetError(
            f"{split}: no slide; add slides or say in {table} (columns slide,split) which is where"
        )
    n_tiles = sum(slide.n_tiles for slide in slides)
    remedy = f"or give {split} another slide in {table}"
    if not n_positives:
        raise DatasetError(
            f"{split}: no positive among {n_tiles} tiles of {len(slides)} slides (tumour fraction "
            f"between {options.min_tumour:g} and {options.max_tumour:g}); lower --min_tumour, "
            f"raise --max_tumour, {remedy}"
        )
    if not n_negatives:
        raise DatasetError(
            f"{split}: no negative among {n_tiles} tiles of {len(slides)} slides (no tumour, "
            f"tissue fraction at least {options.min_tissue:g}); lower --min_tissue, {remedy}"
        )


def _format_count(count: int, limit: int, kind: str) -> str:
    shortage = f" (fewer than the {limit} asked for)" if count < limit else ""
    return f"{count} {kind}{shortage}"
