"""Training and scoring of a segmenter that sees nothing but the image."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from epsam.config.segmenter import SegmenterOptions
from epsam.core.device import DeviceConfig
from epsam.core.distributed import gather_parts, part_of_process
from epsam.core.errors import DatasetError
from epsam.core.seeding import generator
from epsam.data.augmentation import augment_with_masks, draw_augmentation
from epsam.data.batches import PatchBatch, load_batches
from epsam.data.cam_store import CamMap
from epsam.data.images import read_mask
from epsam.data.patches import Patch
from epsam.engine.fit import FitSchedule
from epsam.engine.task import Task
from epsam.metrics import PixelCounts, count_pixels, macro_dice_iou
from epsam.training.classifier import scale_images
from epsam.training.epoch_batches import load_epoch
from epsam.training.round_data import Example

NAME = "segmenter"


@dataclass(frozen=True)
class MaskedBatch:
    """Patches of one training step and their target masks (B, T, side, side) of 0 and 1; T is 1,
    or the number of layers.
    """

    patches: PatchBatch
    masks: Tensor

    @property
    def names(self) -> list[str]:
        return self.patches.names


def build_segmenter_task(
    model: Any,
    examples: Sequence[Example],
    val: Sequence[Patch],
    size: int,
    options: SegmenterOptions,
    device_config: DeviceConfig,
) -> Task:
    """The task of fitting a `Segmenter`: AdamW on its loss, images and masks augmented together.

    val: patches with ground truth. size: side of all patches in px.
    """
    patches = [example.patch for example in examples]
    n_targets = max([len(example.layers) for example in examples if example.layers], default=1)
    by_name = {example.patch.name: example for example in examples}

    def add_masks(batch: PatchBatch) -> MaskedBatch:
        masks = [read_targets(by_name[name], size, n_targets) for name in batch.names]
        return MaskedBatch(batch, torch.stack(masks))

    def compute_loss(batch: MaskedBatch, epoch: int) -> Tensor:
        augmentations = []
        for name in batch.names:
            rng = generator(options.seed, NAME, "augment", epoch, name)
            augmentations.append(draw_augmentation(rng))
        masks = batch.masks.to(device_config.device)
        with device_config.autocast():
            images, masks = augment_with_masks(
                scale_images(batch.patches, device_config), masks, augmentations
            )
            losses: Tensor = model.loss(images, masks)
        return losses

    def validate() -> dict[str, float]:
        dice, iou = macro_dice_iou(count_all(model, val, size, options.batch_size, device_config))
        return {"val_dice": dice, "val_iou": iou}

    optimiser = torch.optim.AdamW(
        model.parameters(), lr=options.lr, weight_decay=options.weight_decay
    )
    return Task(
        name=NAME,
        seed=options.seed,
        model=model,
        optimiser=optimiser,
        batches=partial(load_epoch, patches, size, add_masks, NAME, options),
        loss=compute_loss,
        validate=validate,
        steps=-(-len(patches) // options.batch_size),
        scaler=device_config.scaler(),
    )


def count_all(
    model: Any, patches: Sequence[Patch], size: int, batch_size: int, device_config: DeviceConfig
) -> list[PixelCounts]:
    """Pixel counts of patches with ground truth, in their order; processes share the batches."""
    starts = range(0, len(patches), batch_size)
    batches = [patches[start : start + batch_size] for start in starts]
    counts_of_batches = []
    for batch in part_of_process(batches):
        probabilities = predict_patches(model, batch, size, batch_size, device_config)
        counts = []
        for patch, probability in zip(batch, probabilities, strict=True):
            counts.append(count_pixels(probability > 0.5, patch.ground_truth()))
        counts_of_batches.append(counts)

    gathered: list[PixelCounts] = []
    for counts in gather_parts(counts_of_batches):
        gathered += counts
    return gathered


def build_segmenter_schedule(options: SegmenterOptions) -> FitSchedule:
    """Keep the epoch of the best validation Dice, stop early, and a cosine over all steps."""

    def lr_factor(step: int, steps_per_epoch: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * step / (options.epoch * steps_per_epoch)))

    return FitSchedule(
        options.epoch,
        options.patience,
        "val_dice",
        higher_is_better=True,
        lr_factor=lr_factor,
    )


def read_targets(example: Example, size: int, count: int) -> Tensor:
    """The `count` target masks (count, size, size) of 0 and 1, float32; all 0 for a patch without.

    Raises DatasetError for a mask of another size.
    """
    if example.target is None:
        return torch.zeros(count, size, size)
    masks = []
    for path in example.layers or (example.target,):
        mask = read_mask(path)
        if mask.shape != (size, size):
            raise DatasetError(
                f"{path}: {mask.shape[1]}×{mask.shape[0]} px for a patch of {size}×{size}; "
                "resize it"
            )
        masks.append(torch.from_numpy(mask.astype(np.float32)))
    return torch.stack(masks)


@torch.no_grad()
def predict_patches(
    model: Any, patches: Sequence[Patch], size: int, batch_size: int, device_config: DeviceConfig
) -> Iterator[CamMap]:
    """Tumour probabilities (size, size) of un-augmented patches, in their order."""
    model.eval()
    for batch in load_batches(patches, size, batch_size, workers=0):
        with device_config.autocast():
            probabilities = model.predict(scale_images(batch, device_config))
        # Class 0 of 1: tumour.
        yield from probabilities[:, 0].float().cpu().numpy()
