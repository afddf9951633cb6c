"""The choice of patches over all slides of a split."""

import logging
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from epsam.config.common import SPLITS
from epsam.config.patches import PatchOptions
from epsam.core.errors import DatasetError
from epsam.extraction.candidates import CandidateTiles, ScoredSlide
from epsam.extraction.sampling import (
    FractionRange,
    Integers,
    PatchLimits,
    choose_negatives,
    choose_positives,
    positive_limit,
)
from epsam.extraction.write_patches import TileSelection

log = logging.getLogger(__name__)


def select_tiles(measured: Sequence[ScoredSlide], options: PatchOptions) -> list[TileSelection]:
    """The windows to cut out, slide by slide; what there is is taken where fewer exist than are
    asked for.

    Raises DatasetError if a split has no slide, no positive or no negative.
    """
    cuts: list[TileSelection] = []
    for number, split in enumerate(SPLITS):
        limits = PatchLimits(
            options.max_per_bin[number], options.max_positive[number], options.max_negative[number]
        )
        slides = [slide for slide in measured if slide.record.split == split and not slide.error]
        found = _select_split(slides, limits, (options.seed, "patches", split))
        _check(split, slides, found, options)
        positives, negatives = (
            sum(len(part) for part in parts)
            for parts in ([cut.positives for cut in found], [cut.negatives for cut in found])
        )
        wanted = positive_limit(limits, FractionRange(options.min_tumour, options.max_tumour))
        log.info(
            "%s: %d slides, %s, %s",
            split,
            len(slides),
            _told(positives, wanted, "positives"),
            _told(negatives, limits.negatives, "negatives"),
        )
        cuts += [cut for cut in found if len(cut.positives) or len(cut.negatives)]
    return cuts


def _select_split(
    slides: Sequence[ScoredSlide], limits: PatchLimits, key: Sequence[int | str]
) -> list[TileSelection]:
    positives = [slide.positives for slide in slides if slide.positives is not None]
    negatives = [slide.negatives for slide in slides if slide.negatives is not None]
    shares = np.concatenate([np.empty(0), *(windows.tumour for windows in positives)])
    chosen_positives = _share_out(positives, choose_positives(shares, limits, key))
    chosen_negatives = _share_out(
        negatives, choose_negatives(sum(map(len, negatives)), limits, key)
    )
    return [
        TileSelection(slide.record, positive, negative, slide.mpp)
        for slide, positive, negative in zip(
            slides, chosen_positives, chosen_negatives, strict=True
        )
    ]


def _share_out(parts: Sequence[CandidateTiles], chosen: Integers) -> list[CandidateTiles]:
    """What was chosen of all parts taken together, as a share of each part."""
    ends = list(accumulate(map(len, parts)))
    return [
        part.take(chosen[(chosen >= end - len(part)) & (chosen < end)] - (end - len(part)))
        for part, end in zip(parts, ends, strict=True)
    ]


def _check(
    split: str, slides: Sequence[ScoredSlide], cuts: Sequence[TileSelection], options: PatchOptions
) -> None:
    table = f"{options.dataset_root}/{options.dataset_type}/splits.csv"
    move = f"or give {split} another slide in {table}"
    if not slides:
        raise DatasetError(
            f"{split}: no slide; add slides or say in {table} (columns slide,split) which is where"
        )
    windows = sum(slide.windows for slide in slides)
    if not any(len(cut.positives) for cut in cuts):
        raise DatasetError(
            f"{split}: no positive among {windows} windows of {len(slides)} slides (tumour share "
            f"between {options.min_tumour:g} and {options.max_tumour:g}); lower --min_tumour, "
            f"raise --max_tumour, {move}"
        )
    if not any(len(cut.negatives) for cut in cuts):
        raise DatasetError(
            f"{split}: no negative among {windows} windows of {len(slides)} slides (no tumour, tissue "
            f"share at least {options.min_tissue:g}); lower --min_tissue, {move}"
        )


def _told(count: int, wanted: int, kind: str) -> str:
    return f"{count} {kind}" + (f" (fewer than the {wanted} asked for)" if count < wanted else "")
