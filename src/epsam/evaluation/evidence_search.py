"""Quantile and opening kernel by search over a grid, judged by the classifier: patch labels are
enough (this project).

A mask is erased from the patch, and the classifier looks again. What its logit loses is the
evidence that the mask held. Were the tumour's evidence spread evenly over the tumour, evidence
minus area, as fractions of the whole patch, would be highest for the very mask of the tumour: a
smaller mask holds less evidence, a larger one more area.
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from epsam.cam.postprocess import threshold_and_open
from epsam.config.masks import MaskOptions
from epsam.core.device import DeviceConfig
from epsam.core.errors import DatasetError
from epsam.data.cam_store import CamStore
from epsam.data.images import Mask
from epsam.data.patches import Patch, read_square
from epsam.evaluation.threshold_search import require_grid, require_labels
from epsam.training.panels import pick_evenly

Colour = npt.NDArray[np.float32]
"""Mean RGB (3,) in 0..1."""

MOST_PATCHES = 100
"""This project: patches with tumour that a grid is judged by at most, evenly spaced; each costs as
many passes of the classifier as the grid has pairs.
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

    model: a `WeakModel`. What is erased takes the mean colour of `negatives`. Raises DatasetError
    without positives or negatives, if no positive has any evidence, or if the post-processing has
    neither quantile nor kernel.
    """
    require_grid(options)
    require_labels(positives, negatives)
    colour = mean_colour(negatives, size)
    pairs = list(itertools.product(options.grid_quantiles, options.grid_kernels))
    scores: dict[tuple[float, int], list[float]] = defaultdict(list)
    for index in pick_evenly(len(positives), MOST_PATCHES):
        patch = positives[index]
        masks = []
        for quantile, kernel in pairs:
            masks.append(
                threshold_and_open(
                    cams.maps[patch.name], size, size, quantile, kernel, options.open_at
                )
            )
        image = read_square(patch, size)
        judged = judge_masks(model, image, masks, colour, options.batch_size, device_config)
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


def mean_colour(patches: Sequence[Patch], size: int) -> Colour:
    """The mean RGB (3,) in 0..1 of up to MOST_PATCHES of them, evenly spaced."""
    means = []
    for index in pick_evenly(len(patches), MOST_PATCHES):
        means.append(read_square(patches[index], size).mean(axis=(0, 1)) / 255)
    return np.asarray(np.mean(means, axis=0), dtype=np.float32)


def judge_masks(
    model: Any,
    image: npt.NDArray[np.uint8],
    masks: Sequence[Mask],
    colour: Colour,
    batch_size: int,
    device_config: DeviceConfig,
) -> list[float]:
    """Evidence minus area of each mask, both as fractions of the patch's; empty if the classifier
    finds the patch no more tumorous than an empty one.
    """
    pixels = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    blank = torch.from_numpy(colour)[:, None, None]
    erasures = [np.zeros(image.shape[:2], bool), np.ones(image.shape[:2], bool), *masks]
    logits: list[float] = []
    for start in range(0, len(erasures), batch_size):
        erased = []
        for mask in erasures[start : start + batch_size]:
            erased.append(torch.where(torch.from_numpy(mask), blank, pixels))
        logits += _logits(model, torch.stack(erased), device_config)

    whole, empty, *without_mask = logits
    if whole <= empty:
        return []
    scores = []
    for mask, logit in zip(masks, without_mask, strict=True):
        # An erased patch may look less tumorous than an empty one, or more so than before.
        evidence = min(1.0, max(0.0, (whole - logit) / (whole - empty)))
        scores.append(evidence - float(mask.mean()))
    return scores


def _logits(model: Any, images: Tensor, device_config: DeviceConfig) -> list[float]:
    model.eval()
    with torch.no_grad(), device_config.autocast():
        logits: list[float] = model(images.to(device_config.device)).float().tolist()
    return logits
