"""A folder of images → masks, overlays, and a row of figures for each."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from epsam.core.errors import EpsamError
from epsam.data.images import Rgb, write_mask, write_rgb
from epsam.data.patches import Patch
from epsam.inference.image_results import ImageResult, ResultCache, mask_file, overlay_file
from epsam.inference.pipeline import Gate, Pipeline, Segmentation
from epsam.inference.tiling import Tiling
from epsam.metrics import PixelCounts, count_pixels, macro_dice_iou, sum_counts
from epsam.pictures.panel import overlay_mask

log = logging.getLogger(__name__)


def segment_folder(
    images: Sequence[Patch],
    pipeline: Pipeline,
    output: Path,
    step: float,
    gate: Gate,
    fingerprint: str,
) -> tuple[list[dict[str, Any]], dict[str, PixelCounts]]:
    """Write mask/<name>.png and overlay/<name>.png for each image that is not finished with the
    same fingerprint.

    Returns a row for each image, and by file name the overlaps with truth of those that truly have
    tumour. An image that cannot be read, or whose truth does not fit, is a row that says why; the
    rest go on. `step` is the overlap of neighbouring windows, 0 to 0.9.
    """
    finished = ResultCache(output, fingerprint)
    rows, overlaps, before, total_dice = [], {}, 0, 0.0
    with tqdm(images, desc="images", disable=None, leave=False) as bar:
        for item in bar:
            kept = finished.find(item)
            before += kept is not None
            result = kept or _attempt(item, pipeline, output, step, gate, finished)
            rows.append(result.row)
            if result.overlap:
                overlaps[item.image.name] = result.overlap
                # A running sum: the mean over all so far, anew for each image, would cost more the
                # more there are.
                total_dice += result.overlap.dice
                bar.set_postfix(dice=f"{total_dice / len(overlaps):.3f}")
    if before:
        log.info("%d of %d images were finished before", before, len(images))
    return rows, overlaps


def summarize_images(
    rows: Sequence[dict[str, Any]], overlaps: Sequence[PixelCounts]
) -> dict[str, Any]:
    """Figures over all images: means and pooled over those that truly have tumour; None where
    nothing counts.
    """
    dice, iou = macro_dice_iou(overlaps)
    total = sum_counts(overlaps)
    done = [row for row in rows if row["status"] != "failed"]
    figures: dict[str, Any] = {
        "images": len(rows),
        "failed": len(rows) - len(done),
        "scored": len(overlaps),
    }
    names = ("mean_dice", "mean_iou", "pooled_dice", "pooled_iou")
    values = (dice, iou, total.dice, total.iou)
    figures.update(
        {
            name: round(value, 6) if overlaps else None
            for name, value in zip(names, values, strict=True)
        }
    )
    figures["empty_masks"] = sum(row["tumour_share"] == 0 for row in done)
    return figures


def _attempt(
    item: Patch, pipeline: Pipeline, output: Path, step: float, gate: Gate, finished: ResultCache
) -> ImageResult:
    try:
        result = _segment_file(item, pipeline, output, step, gate)
    except EpsamError as error:
        log.warning("skipped: %s", error)
        return ImageResult(
            {"image": item.image.name, "status": "failed", "reason": str(error)}, None
        )
    finished.add(item, result)
    return result


def _segment_file(
    item: Patch, pipeline: Pipeline, output: Path, step: float, gate: Gate
) -> ImageResult:
    started = time.perf_counter()
    image = item.read()
    # Before the network: a mask that does not fit should not cost minutes of a large image.
    truth = item.ground_truth() if item.mask else None
    finding = _segment(item, image, pipeline, step, gate)
    write_mask(mask_file(output, item), finding.mask)
    write_rgb(overlay_file(output, item), overlay_mask(image, finding.mask))
    row: dict[str, Any] = {
        "image": item.image.name,
        "status": "done",
        "label": "" if item.label is None else item.label,
        "probability": round(finding.classifier, 6),
        "windows": finding.windows,
        "gated": finding.gated,
        "tumour_share": round(float(finding.mask.mean()), 6),
        "seconds": round(time.perf_counter() - started, 3),
    }
    if truth is None:
        return ImageResult(row, None)
    found = count_pixels(finding.mask, truth)
    row.update(dice=round(found.dice, 6), iou=round(found.iou, 6))
    return ImageResult(row, found if truth.any() else None)


def _segment(item: Patch, image: Rgb, pipeline: Pipeline, step: float, gate: Gate) -> Segmentation:
    """What the name tells comes first: label 0 is empty; label 1 needs no gate if the image is one
    window.
    """
    height, width = image.shape[:2]
    if item.label == 0:
        return Segmentation(np.zeros((height, width), np.float32), 0.0, 0, 0)
    single = len(Tiling.over(height, width, pipeline.tile_size, step).corners_xy) == 1
    return pipeline.segment(
        item.name, image, step, replace(gate, on=gate.on and not (item.label == 1 and single))
    )
