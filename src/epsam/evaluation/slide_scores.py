"""Slides beside their outlines: overlap, lesions found, and how well the classifier tells windows
apart.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from epsam.annotations.asap_reader import Annotations, rasterize_tumour, read_annotations
from epsam.core.files import read_numbers
from epsam.evaluation.froc import (
    EVALUATION_UM,
    FALSE_POSITIVES_PER_SLIDE,
    LesionHits,
    compute_froc,
    find_peaks,
    label_lesions,
    match_detections,
    sensitivities,
)
from epsam.extraction.discovery import SlideRecord
from epsam.extraction.sampling import CandidateGrid, Fractions, tumour_fractions
from epsam.metrics import PixelCounts, auroc, macro_dice_iou, sum_counts
from epsam.tables import TILE_COLUMNS
from epsam.wsi.writer import Pixels

POSITIVE_FRACTION = 0.2  # paper 4.1: least tumour share of a positive patch


@dataclass(frozen=True)
class ResultFrame:
    """A slide's results beside its level 0: size of their pixels in level-0 pixels and in µm, side
    of a window.
    """

    scale: float
    mpp: float
    side_px0: int


@dataclass(frozen=True)
class SlideScore:
    """Of one slide with truth: pixel counts, finds, and the classifier's probability of windows of
    known label.
    """

    slide: str
    overlap: PixelCounts
    hits: LesionHits
    probabilities: list[float]
    labels: list[int]


def score_slide(
    record: SlideRecord, folder: Path, bands: Iterable[Pixels], frame: ResultFrame
) -> SlideScore:
    """Compare a slide's results in `folder` with its outlines. `bands` are those of its mask, from
    top to bottom.

    Windows count as in training: with at least a fifth of tumour, or with none. Raises
    AnnotationError if the outlines cannot be read.
    """
    outlines = read_annotations(record.annotations) if record.annotations else Annotations()
    windows = read_numbers(
        folder / "windows.csv",
        TILE_COLUMNS,
        {"x": int, "y": int, "probability": float},
        "remove that folder and run infer.py again",
    )
    shares = tile_fractions(
        outlines, [(int(row["x"]), int(row["y"])) for row in windows], frame.side_px0
    )
    known = [
        (float(row["probability"]), int(share > 0))
        for row, share in zip(windows, shares, strict=True)
        if share == 0 or share >= POSITIVE_FRACTION
    ]
    return SlideScore(
        record.name,
        count_slide_pixels(outlines, bands, frame.scale),
        slide_hits(outlines, folder, frame),
        [probability for probability, _ in known],
        [label for _, label in known],
    )


def count_slide_pixels(outlines: Annotations, bands: Iterable[Pixels], scale: float) -> PixelCounts:
    """Pixel counts of a mask given in bands, one pixel of which spans `scale` level-0 pixels,
    beside outlines.
    """
    tp = predicted = target = top = 0
    for band in bands:
        found = band > 0
        truth = rasterize_tumour(outlines, 0, top * scale, band.shape[1], len(band), scale)
        tp += int(np.count_nonzero(found & truth))
        predicted += int(np.count_nonzero(found))
        target += int(np.count_nonzero(truth))
        top += len(band)
    return PixelCounts(tp, predicted, target)


def slide_hits(outlines: Annotations, folder: Path, frame: ResultFrame) -> LesionHits:
    """Finds are the peaks of the probability at about CAMELYON16's pixel size, in or outside of
    lesions.
    """
    with tifffile.TiffFile(folder / "probability.tif") as file:
        level = min(len(file.pages) - 1, max(0, round(np.log2(EVALUATION_UM / frame.mpp))))
        probability = np.asarray(file.pages[level].asarray())
    um_per_px = frame.mpp * 2**level
    truth = rasterize_tumour(
        outlines, 0, 0, probability.shape[1], probability.shape[0], frame.scale * 2**level
    )
    return match_detections(find_peaks(probability, um_per_px), *label_lesions(truth, um_per_px))


def tile_fractions(
    outlines: Annotations, corners_px0: Sequence[tuple[int, int]], side_px0: int
) -> Fractions:
    """Share of tumour in each window, corners (x, y) and side in level-0 pixels."""
    if not outlines.tumour or not corners_px0:
        return np.zeros(len(corners_px0))
    lefts, tops = (
        np.array(sorted(set(values)), dtype=np.int64) for values in zip(*corners_px0, strict=True)
    )
    shares = tumour_fractions(outlines, CandidateGrid(lefts, tops, side_px0))
    x, y = np.array(corners_px0).T
    return np.asarray(shares[np.searchsorted(tops, y), np.searchsorted(lefts, x)])


def summarize_slide_scores(scores: Sequence[SlideScore]) -> dict[str, Any]:
    """Figures over all slides with truth; None where nothing counts. Dice and IoU are over slides
    that have tumour.
    """
    overlaps = [score.overlap for score in scores if score.overlap.target]
    total, means = sum_counts(overlaps), macro_dice_iou(overlaps)
    named = dict(zip(("mean_dice", "mean_iou"), means, strict=True)) | {
        "pooled_dice": total.dice,
        "pooled_iou": total.iou,
    }
    labels = [label for score in scores for label in score.labels]
    area = auroc([value for score in scores for value in score.probabilities], labels)
    found = (
        sensitivities(points) if (points := compute_froc([score.hits for score in scores])) else []
    )
    return {
        "scored": len(scores),
        "with_tumour": len(overlaps),
        **{name: round(value, 6) if overlaps else None for name, value in named.items()},
        "patches": len(labels),
        "patch_auroc": None if np.isnan(area) else round(area, 6),
        "lesions": sum(len(score.hits.lesions) for score in scores),
        "froc_score": round(float(np.mean(found)), 6) if found else None,
        **{
            f"froc_{false:g}": round(value, 6)
            for false, value in zip(FALSE_POSITIVES_PER_SLIDE, found, strict=False)
        },
    }
