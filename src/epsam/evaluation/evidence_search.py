"""Quantile and opening kernel by search over a grid, judged by the classifier: patch labels are
enough (this project).

Normal tissue of another patch is pasted over the mask, and over all that is not the mask, and the
classifier looks at both. What its logit loses in the first, and keeps in the second, is the
evidence that the mask holds. Were the tumour's evidence spread evenly over the tumour, evidence
minus area, as fractions of the whole patch, would be highest for the very mask of the tumour: a
smaller mask holds less evidence, a larger one more area.

Tissue, since a classifier may take any hole in one colour for normal; both ways, since one piece of
normal tissue, or of tumour, may be enough to convince it (docs/real_tissue.md, "Without masks in
validation").
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from epsam.config.masks import MaskOptions
from epsam.core.device import DeviceConfig
from epsam.core.errors import DatasetError
from epsam.data.cam_store import CamStore
from epsam.data.images import Mask, Rgb
from epsam.data.patches import Patch, read_square
from epsam.evaluation.threshold_search import cut_at, require_grid, require_labels
from epsam.training.panels import pick_evenly

MOST_PATCHES = 100
"""This project: patches with tumour that a grid is judged by at most, evenly spaced; each costs as
twice as many passes of the classifier as the grid has pairs.
"""


def search_grid_by_evidence(
    model: Any,
    cams: CamStore,
    positives: Sequence[Patch],
    negatives: Sequence[Patch],
    size: int,
    options: MaskOptions,
    device_config: DeviceConfig,
) -> list[dict[str, Any]]:
    """A row for each pair of the grid, with the mean over `positives` of evidence minus area
    (`evidence`, −1 to 1) of its masks.

    model: a `WeakModel`. What is pasted comes from `negatives`, another one for each positive as
    far as there are enough. Raises DatasetError without positives or negatives, if no positive has
    any evidence, or if the post-processing cuts at no quantile.
    """
    require_grid(options)
    require_labels(positives, negatives)
    pairs = list(itertools.product(options.grid_quantiles, options.grid_kernels))
    scores: dict[tuple[float, int], list[float]] = defaultdict(list)
    normal_indices = itertools.cycle(pick_evenly(len(negatives), MOST_PATCHES))
    for index in pick_evenly(len(positives), MOST_PATCHES):
        patch = positives[index]
        normal = read_square(negatives[next(normal_indices)], size)
        masks = []
        for quantile, kernel in pairs:
            cam = cams.maps[patch.name]
            masks.append(cut_at(quantile, kernel, cam, (size, size), options))
        image = read_square(patch, size)
        judged = judge_masks(model, image, masks, normal, options.batch_size, device_config)
        # A patch without evidence judges nothing.
        if judged:
            for pair, score in zip(pairs, judged, strict=True):
                scores[pair].append(score)

    if not scores:
        raise DatasetError(
            "--grid_by labels: the classifier sees no tumour in any validation patch that has "
            "some; train it longer, or set --quantile and --open_kernel"
        )
    rows = []
    for (quantile, kernel), of_pair in scores.items():
        row = {
            "quantile": quantile,
            "open_kernel": kernel,
            "open_at": options.open_at,
            "patches": len(of_pair),
            "evidence": float(np.mean(of_pair)),
        }
        rows.append(row)
    return rows


def judge_masks(
    model: Any,
    image: Rgb,
    masks: Sequence[Mask],
    normal: Rgb,
    batch_size: int,
    device_config: DeviceConfig,
) -> list[float]:
    """Evidence minus area of each mask, both as fractions of the patch's; empty if the classifier
    finds the patch no more tumorous than the normal one.

    image, normal: RGB of the same side, the latter of a patch without tumour.
    """
    pixels = _to_pixels(image)
    pasted = _to_pixels(normal)
    nothing = np.zeros(image.shape[:2], bool)
    # Where the patch itself is seen: all of it, none, and for each mask the rest and itself.
    seen = [~nothing, nothing]
    for mask in masks:
        seen += [~mask, mask]

    logits: list[float] = []
    for start in range(0, len(seen), batch_size):
        images = []
        for part in seen[start : start + batch_size]:
            images.append(torch.where(torch.from_numpy(part), pixels, pasted))
        logits += _logits(model, torch.stack(images), device_config)

    whole, none, *of_masks = logits
    if whole <= none:
        return []
    scores = []
    for mask, rest, alone in zip(masks, of_masks[::2], of_masks[1::2], strict=True):
        necessity = _fraction(whole - rest, whole - none)
        sufficiency = _fraction(alone - none, whole - none)
        scores.append((necessity + sufficiency) / 2 - float(mask.mean()))
    return scores


def _fraction(part: float, whole: float) -> float:
    """Of an evidence, within 0 and 1: a pasted patch may look less tumorous than the normal one, or
    more so than before.
    """
    return min(1.0, max(0.0, part / whole))


def _to_pixels(image: Rgb) -> Tensor:
    """(3, side, side) in 0..1."""
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255


def _logits(model: Any, images: Tensor, device_config: DeviceConfig) -> list[float]:
    model.eval()
    with torch.no_grad(), device_config.autocast():
        logits: list[float] = model(images.to(device_config.device)).float().tolist()
    return logits
