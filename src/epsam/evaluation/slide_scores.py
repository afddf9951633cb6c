"""Results of slides beside their annotations: pixel overlap, lesions detected, and how well the
classifier tells tiles apart.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from epsam.annotations.polygons import Annotations, rasterize_tumour
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
from epsam.extraction.candidates import load_annotations
from epsam.extraction.discovery import SlideRecord
from epsam.extraction.sampling import CandidateGrid, Fractions, tumour_fractions
from epsam.metrics import PixelCounts, auroc, macro_dice_iou, sum_counts
from epsam.tables import TILE_COLUMNS
from epsam.wsi.writer import Pixels

POSITIVE_FRACTION = 0.2  # paper 4.1: least tumour fraction of a positive patch


@dataclass(frozen=True)
class ResultFrame:
    """The pixels of a slide's results beside its level 0.

    scale: their side in level-0 pixels. mpp: their side in µm. side_px0: side of a tile in level-0
    pixels.
    """

    scale: float
    mpp: float
    side_px0: int


@dataclass(frozen=True)
class SlideScore:
    """Scores of one slide with ground truth.

    probabilities, labels: of each tile whose label is certain, the classifier's probability and
    0 (normal) or 1 (tumour).
    """

    slide: str
    overlap: PixelCounts
    hits: LesionHits
    probabilities: list[float]
    labels: list[int]


def score_slide(
    record: SlideRecord, folder: Path, bands: Iterable[Pixels], frame: ResultFrame
) -> SlideScore:
    """Compare a slide's results in `folder` with its annotations. `bands` are those of its mask,
    from top to bottom.

    Tiles count as patches do in training: with at least a fifth of tumour, or with none. Raises
    AnnotationError if the annotations cannot be read.
    """
    annotations = load_annotations(record)
    tiles = read_numbers(
        folder / "windows.csv",
        TILE_COLUMNS,
        {"x": int, "y": int, "probability": float},
        "remove that folder and run infer.py again",
    )
    corners_px0 = []
    for tile in tiles:
        corners_px0.append((int(tile["x"]), int(tile["y"])))
    fractions = tile_fractions(annotations, corners_px0, frame.side_px0)

    probabilities = []
    labels = []
    for tile, fraction in zip(tiles, fractions, strict=True):
        # A tile with less tumour than that is neither positive nor negative.
        if fraction == 0 or fraction >= POSITIVE_FRACTION:
            probabilities.append(float(tile["probability"]))
            labels.append(int(fraction > 0))

    return SlideScore(
        record.name,
        count_slide_pixels(annotations, bands, frame.scale),
        match_slide_detections(annotations, folder, frame),
        probabilities,
        labels,
    )


def count_slide_pixels(
    annotations: Annotations, bands: Iterable[Pixels], scale: float
) -> PixelCounts:
    """Pixel counts of a mask beside annotations.

    The mask comes in bands (rows, width) from top to bottom; one of its pixels spans `scale`
    level-0 pixels.
    """
    # In bands: the mask of a slide may not fit into memory.
    tp = predicted_count = target_count = top = 0
    for band in bands:
        height, width = band.shape
        predicted = band > 0
        target = rasterize_tumour(annotations, 0, top * scale, width, height, scale)
        tp += int(np.count_nonzero(predicted & target))
        predicted_count += int(np.count_nonzero(predicted))
        target_count += int(np.count_nonzero(target))
        top += height
    return PixelCounts(tp, predicted_count, target_count)


def match_slide_detections(
    annotations: Annotations, folder: Path, frame: ResultFrame
) -> LesionHits:
    """Match the peaks of a slide's probability map with its lesions, at about CAMELYON16's pixel
    size.
    """
    with tifffile.TiffFile(folder / "probability.tif") as file:
        # Each level of the pyramid halves the one before it.
        matching_level = max(0, round(np.log2(EVALUATION_UM / frame.mpp)))
        level = min(len(file.pages) - 1, matching_level)
        probability = np.asarray(file.pages[level].asarray())

    um_per_px = frame.mpp * 2**level
    height, width = probability.shape
    ground_truth = rasterize_tumour(annotations, 0, 0, width, height, frame.scale * 2**level)
    lesion_labels, counts = label_lesions(ground_truth, um_per_px)
    return match_detections(find_peaks(probability, um_per_px), lesion_labels, counts)


def tile_fractions(
    annotations: Annotations, corners_px0: Sequence[tuple[int, int]], side_px0: int
) -> Fractions:
    """Tumour fraction of each tile (n,); corners (x, y) and side in level-0 pixels."""
    if not annotations.tumour or not corners_px0:
        return np.zeros(len(corners_px0))

    # The grid of all tiles is scored band by band, and each tile then looked up in it.
    x, y = np.array(corners_px0).T
    lefts = np.unique(x).astype(np.int64)
    tops = np.unique(y).astype(np.int64)
    fractions = tumour_fractions(annotations, CandidateGrid(lefts, tops, side_px0))
    return np.asarray(fractions[np.searchsorted(tops, y), np.searchsorted(lefts, x)])


def summarize_slide_scores(scores: Sequence[SlideScore]) -> dict[str, Any]:
    """Metrics over all slides with ground truth; None where nothing counts.

    Dice and IoU are over slides that have tumour.
    """
    overlaps = [score.overlap for score in scores if score.overlap.target]
    mean_dice, mean_iou = macro_dice_iou(overlaps)
    total = sum_counts(overlaps)
    # JSON has no NaN: what nothing counts for is None.
    metrics: dict[str, Any] = {"scored": len(scores), "with_tumour": len(overlaps)}
    for name, value in (
        ("mean_dice", mean_dice),
        ("mean_iou", mean_iou),
        ("pooled_dice", total.dice),
        ("pooled_iou", total.iou),
    ):
        metrics[name] = round(value, 6) if overlaps else None

    # One AUROC over the tiles of all slides, not a mean over slides: many slides have one class.
    labels: list[int] = []
    probabilities: list[float] = []
    for score in scores:
        labels += score.labels
        probabilities += score.probabilities
    area = auroc(probabilities, labels)
    metrics["patches"] = len(labels)
    metrics["patch_auroc"] = None if np.isnan(area) else round(area, 6)

    hits = [score.hits for score in scores]
    metrics["lesions"] = sum(len(slide_hits.lesions) for slide_hits in hits)
    metrics.update(_summarize_froc(hits))
    return metrics


def _summarize_froc(hits: Sequence[LesionHits]) -> dict[str, float | None]:
    """CAMELYON16's score and the sensitivities it averages; the score is None without lesions."""
    points = compute_froc(hits)
    if not points:
        return {"froc_score": None}

    values = sensitivities(points)
    metrics: dict[str, float | None] = {"froc_score": round(float(np.mean(values)), 6)}
    for false_positives, value in zip(FALSE_POSITIVES_PER_SLIDE, values, strict=True):
        metrics[f"froc_{false_positives:g}"] = round(value, 6)
    return metrics
