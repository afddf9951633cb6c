"""A folder of images → masks, overlays, and a row of metrics for each image."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from epsam.core.artifact import Key
from epsam.core.errors import EpsamError, ImageError
from epsam.core.progress import ProgressLog
from epsam.data.images import Mask, Rgb, is_black, write_mask, write_rgb
from epsam.data.patches import Patch
from epsam.inference.image_results import ImageResult, ResultCache, mask_file, overlay_file
from epsam.inference.tile_model import Gate, Segmentation, TiledImage, TileModel, segment_images
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
    mask_threshold: float = 0.5,
) -> tuple[list[dict[str, Any]], dict[str, PixelCounts]]:
    """Write mask/<name>.png and overlay/<name>.png for each image that is not finished.

    Finished images are those with a current result for `key`. `overlap` is that of neighbouring
    tiles, 0 to 0.9. A pixel is tumour above `mask_threshold`. Returns a row of metrics.csv for each
    image, and pixel counts by file name of those whose ground truth has tumour. An image that
    cannot be read, or whose ground truth does not fit, gets a row with the reason, and stops no
    other.
    """
    cache = ResultCache(output, key)
    rows: list[dict[str, Any]] = []
    counts: dict[str, PixelCounts] = {}
    results: dict[str, ImageResult] = {}
    unfinished = []
    for image in images:
        result = cache.find(image)
        if result is None:
            unfinished.append(image)
        else:
            results[image.name] = result
    if results:
        log.info("%d of %d images were finished before", len(results), len(images))

    total_dice, n_scored = 0.0, 0
    lines = ProgressLog("images", len(unfinished))
    with tqdm(
        total=len(images), initial=len(results), desc="images", disable=None, leave=False
    ) as bar:
        for image, result in _segment_unfinished(
            unfinished, model, output, overlap, gate, mask_threshold
        ):
            if result.row["status"] != "failed":
                cache.add(image, result)
            results[image.name] = result
            if result.counts is not None:
                # A running sum: the mean anew for each image would take ever longer.
                n_scored += 1
                total_dice += result.counts.dice
                bar.set_postfix(dice=f"{total_dice / n_scored:.3f}")
            bar.update()
            if bar.disable:
                lines.advance()

    # Images become complete in the order of the model's work.
    for image in images:
        result = results[image.name]
        rows.append(result.row)
        if result.counts is not None:
            counts[image.file_name] = result.counts
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


@dataclass(frozen=True)
class _OpenImage:
    """An image that was read, with its ground truth; `started` on the performance clock."""

    image: Patch
    pixels: Rgb
    ground_truth: Mask | None
    started: float


def _segment_unfinished(
    images: Sequence[Patch],
    model: TileModel,
    output: Path,
    overlap: float,
    gate: Gate,
    mask_threshold: float,
) -> Iterator[tuple[Patch, ImageResult]]:
    """The result of each image whose files are written, or why it has failed, in any order."""
    opened: dict[str, _OpenImage] = {}
    # Results of images that do not go through the model, until the model yields.
    immediate: list[tuple[Patch, ImageResult]] = []

    def read_and_tile() -> Iterator[TiledImage]:
        for image in images:
            try:
                open_image = _read(image)
            except EpsamError as error:
                immediate.append((image, _failure(image, error)))
                continue
            # A label in the file's name is weak supervision too, and more certain than the
            # classifier.
            if image.label == 0:
                nothing = np.zeros(open_image.pixels.shape[:2], np.float32)
                segmentation = Segmentation(nothing, 0.0, 0, 0)
                immediate.append((image, _write_or_fail(open_image, segmentation, output)))
                continue
            opened[image.name] = open_image
            yield _tile(open_image, model.tile_size, overlap, gate)

    for tiled in segment_images(model, read_and_tile()):
        open_image = opened.pop(tiled.name)
        segmentation = replace(tiled.segmentation(), threshold=mask_threshold)
        yield open_image.image, _write_or_fail(open_image, segmentation, output)
        yield from immediate
        immediate.clear()
    yield from immediate


def _read(image: Patch) -> _OpenImage:
    """Raises EpsamError if the image or its ground truth cannot be read, or do not fit."""
    started = time.perf_counter()
    pixels = image.read()
    if is_black(pixels):
        raise ImageError(
            f"{image.image}: all black (highest value {pixels.max()} of 255); leave it out or save "
            "it again"
        )
    # Before the model: a mask that does not fit should not cost minutes of a large image.
    ground_truth = image.ground_truth() if image.mask else None
    return _OpenImage(image, pixels, ground_truth, started)


def _tile(open_image: _OpenImage, side: int, overlap: float, gate: Gate) -> TiledImage:
    image, pixels = open_image.image, open_image.pixels
    is_one_tile = max(pixels.shape[:2]) <= side
    # In a labelled image of several tiles, only some of them need hold the tumour.
    if image.label == 1 and is_one_tile:
        gate = replace(gate, on=False)
    return TiledImage(image.name, pixels, side, overlap, gate)


def _failure(image: Patch, error: EpsamError) -> ImageResult:
    log.warning("skipped: %s", error)
    row = {"image": image.file_name, "status": "failed", "reason": str(error)}
    return ImageResult(row, None)


def _write_or_fail(open_image: _OpenImage, segmentation: Segmentation, output: Path) -> ImageResult:
    try:
        return _write(open_image, segmentation, output)
    except EpsamError as error:
        return _failure(open_image.image, error)


def _write(open_image: _OpenImage, segmentation: Segmentation, output: Path) -> ImageResult:
    """Write the image's mask and overlay, and compare the mask with the ground truth."""
    image, ground_truth = open_image.image, open_image.ground_truth
    mask = segmentation.mask
    write_mask(mask_file(output, image), mask)
    write_rgb(overlay_file(output, image), overlay_mask(open_image.pixels, mask))

    row: dict[str, Any] = {
        "image": image.file_name,
        "status": "done",
        "label": "" if image.label is None else image.label,
        "probability": round(segmentation.max_score, 6),
        "windows": segmentation.n_tiles,
        "gated": segmentation.n_gated,
        "tumour_share": round(float(mask.mean()), 6),
        # Images of one batch wait for each other, so that these seconds overlap.
        "seconds": round(time.perf_counter() - open_image.started, 3),
    }
    if ground_truth is None:
        return ImageResult(row, None)
    counts = count_pixels(mask, ground_truth)
    row.update(dice=round(counts.dice, 6), iou=round(counts.iou, 6))
    # As in the paper, Dice and IoU are averaged over images with tumour alone.
    return ImageResult(row, counts if ground_truth.any() else None)
