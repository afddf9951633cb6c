"""Results of slides beside their annotations: pixel overlap, lesions detected, and how well the
classifier tells tiles apart.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
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
from epsam.evaluation.tumour_fractions import WindowCounts, WindowGrid
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
    0 (normal) or 1 (tumour). windows: with tissue, side by side, each as large as a tile. mm2: of a
    pixel of the mask. tissue_mm2: of the slide, tumour included; 0 if unknown.
    """

    slide: str
    overlap: PixelCounts
    hits: LesionHits
    probabilities: list[float]
    labels: list[int]
    windows: list[WindowCounts] = field(default_factory=list)
    mm2: float = 0.0
    tissue_mm2: float = 0.0

    @property
    def false_positive_mm2(self) -> float:
        """The area that is marked and not outlined."""
        return (self.overlap.predicted - self.overlap.tp) * self.mm2

    @property
    def normal_mm2(self) -> float:
        """The tissue that is not outlined; 0 if the tissue's area is unknown."""
        return max(0.0, self.tissue_mm2 - self.overlap.target * self.mm2)

    @property
    def false_positive_area(self) -> float:
        """Marked mm² for each mm² of tissue that is not outlined; nan without such tissue."""
        return self.false_positive_mm2 / self.normal_mm2 if self.normal_mm2 else math.nan


def score_slide(
    record: SlideRecord,
    folder: Path,
    bands: Iterable[Pixels],
    frame: ResultFrame,
    tissue_mm2: float = 0.0,
) -> SlideScore:
    """Compare a slide's results in `folder` with its annotations. `bands` are those of its mask,
    from top to bottom; tissue_mm2: of the slide.

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

    side = max(1, round(frame.side_px0 / frame.scale))
    grid = WindowGrid(side)
    overlap = count_slide_pixels(annotations, bands, frame.scale, grid)
    places = _places_with_tissue(corners_px0, frame.side_px0, side * frame.scale)
    return SlideScore(
        record.name,
        overlap,
        match_slide_detections(annotations, folder, frame),
        probabilities,
        labels,
        grid.whole_windows(places),
        (frame.mpp / 1000) ** 2,
        tissue_mm2,
    )


def _places_with_tissue(
    corners_px0: Sequence[tuple[int, int]], tile_px0: int, window_px0: float
) -> list[tuple[int, int]]:
    """Column and row of the windows, side by side, that hold the centre of a tile with tissue."""
    places = []
    for x, y in corners_px0:
        column, row = (x + tile_px0 / 2) // window_px0, (y + tile_px0 / 2) // window_px0
        places.append((int(column), int(row)))
    return places


def count_slide_pixels(
    annotations: Annotations, bands: Iterable[Pixels], scale: float, grid: WindowGrid
) -> PixelCounts:
    """Pixel counts of a mask beside annotations, all together and, in `grid`, of each window.

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
        grid.add_band(predicted, target)
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

    recall = sum_counts(overlaps).recall
    metrics["recall"] = None if np.isnan(recall) else round(recall, 6)
    normal_mm2 = sum(score.normal_mm2 for score in scores)
    marked_mm2 = sum(score.false_positive_mm2 for score in scores if score.normal_mm2)
    metrics["false_positive_area"] = round(marked_mm2 / normal_mm2, 6) if normal_mm2 else None

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
