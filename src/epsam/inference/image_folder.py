"""A folder of images → masks, overlays, and a row of metrics for each image."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from epsam.core.artifact import Key
from epsam.core.errors import EpsamError, ImageError
from epsam.data.images import Rgb, is_black, write_mask, write_rgb
from epsam.data.patches import Patch
from epsam.inference.image_results import ImageResult, ResultCache, mask_file, overlay_file
from epsam.inference.tile_model import Gate, Segmentation, TileModel, segment_image
from epsam.inference.tiling import Tiling
from epsam.metrics import PixelCounts, count_pixels, macro_dice_iou, sum_counts
from epsam.pictures.panel import overlay_mask

log = logging.getLogger(__name__)


def segment_folder(
    images: Sequence[Patch],
    model: TileModel,
    output: Path,
    overlap: float,
    gate: Gate,
    key: Key,
) -> tuple[list[dict[str, Any]], dict[str, PixelCounts]]:
    """Write mask/<name>.png and overlay/<name>.png for each image that is not finished.

    Finished images are those with a current result for `key`. `overlap` is that of
    neighbouring tiles, 0 to 0.9. Returns a row of metrics.csv for each image, and pixel counts by
    file name of those whose ground truth has tumour. An image that cannot be read, or whose ground
    truth does not fit, gets a row with the reason, and stops no other.
    """
    cache = ResultCache(output, key)
    rows: list[dict[str, Any]] = []
    counts: dict[str, PixelCounts] = {}
    n_cached, total_dice = 0, 0.0
    with tqdm(images, desc="images", disable=None, leave=False) as bar:
        for image in bar:
            result = cache.find(image)
            if result is not None:
                n_cached += 1
            else:
                result = _segment_or_fail(image, model, output, overlap, gate, cache)

            rows.append(result.row)
            if result.counts is not None:
                counts[image.file_name] = result.counts
                # A running sum: the mean anew for each image would take ever longer.
                total_dice += result.counts.dice
                bar.set_postfix(dice=f"{total_dice / len(counts):.3f}")
    if n_cached:
        log.info("%d of %d images were finished before", n_cached, len(images))
    return rows, counts


def summarize_images(
    rows: Sequence[dict[str, Any]], counts: Sequence[PixelCounts]
) -> dict[str, Any]:
    """Metrics over all images, as in summary.json.

    Macro and micro average ("mean" and "pooled") are over images with tumour in their ground
    truth; None without any.
    """
    dice, iou = macro_dice_iou(counts)
    total = sum_counts(counts)
    done = [row for row in rows if row["status"] != "failed"]
    metrics: dict[str, Any] = {
        "images": len(rows),
        "failed": len(rows) - len(done),
        "scored": len(counts),
    }
    averages = {
        "mean_dice": dice,
        "mean_iou": iou,
        "pooled_dice": total.dice,
        "pooled_iou": total.iou,
    }
    for name, value in averages.items():
        metrics[name] = round(value, 6) if counts else None
    metrics["empty_masks"] = sum(row["tumour_share"] == 0 for row in done)
    return metrics


def _segment_or_fail(
    image: Patch, model: TileModel, output: Path, overlap: float, gate: Gate, cache: ResultCache
) -> ImageResult:
    try:
        result = _segment_file(image, model, output, overlap, gate)
    except EpsamError as error:
        log.warning("skipped: %s", error)
        row = {"image": image.file_name, "status": "failed", "reason": str(error)}
        return ImageResult(row, None)
    cache.add(image, result)
    return result


def _segment_file(
    image: Patch, model: TileModel, output: Path, overlap: float, gate: Gate
) -> ImageResult:
    started = time.perf_counter()
    pixels = image.read()
    if is_black(pixels):
        raise ImageError(
            f"{image.image}: all black (highest value {pixels.max()} of 255); leave it out or save "
            "it again"
        )
    # Before the model: a mask that does not fit should not cost minutes of a large image.
    ground_truth = image.ground_truth() if image.mask else None

    segmentation = _segment_with_label(image, pixels, model, overlap, gate)
    mask = segmentation.mask
    write_mask(mask_file(output, image), mask)
    write_rgb(overlay_file(output, image), overlay_mask(pixels, mask))

    row: dict[str, Any] = {
        "image": image.file_name,
        "status": "done",
        "label": "" if image.label is None else image.label,
        "probability": round(segmentation.max_score, 6),
        "windows": segmentation.n_tiles,
        "gated": segmentation.n_gated,
        "tumour_share": round(float(mask.mean()), 6),
        "seconds": round(time.perf_counter() - started, 3),
    }
    if ground_truth is None:
        return ImageResult(row, None)
    counts = count_pixels(mask, ground_truth)
    row.update(dice=round(counts.dice, 6), iou=round(counts.iou, 6))
    # As in the paper, Dice and IoU are averaged over images with tumour alone.
    return ImageResult(row, counts if ground_truth.any() else None)


def _segment_with_label(
    image: Patch, pixels: Rgb, model: TileModel, overlap: float, gate: Gate
) -> Segmentation:
    # A label in the file's name is weak supervision too, and more certain than the classifier.
    height, width = pixels.shape[:2]
    if image.label == 0:
        return Segmentation(np.zeros((height, width), np.float32), 0.0, 0, 0)
    if image.label == 1:
        tiling = Tiling.over(height, width, model.tile_size, overlap)
        # In an image of several tiles, only some of them need hold the tumour.
        if len(tiling.corners_xy) == 1:
            gate = replace(gate, on=False)
    return segment_image(model, image.name, pixels, overlap, gate)
