"""Fitting and scoring the patch classifier (paper 3.2.1, 4.2)."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epsam.config.classifier import ClassifierOptions
from epsam.core.device import DeviceConfig
from epsam.core.seeding import generator
from epsam.data.augmentation import augment, draw_augmentation
from epsam.data.batches import PatchBatch, load_batches
from epsam.data.patches import Patch
from epsam.engine.fit import FitSchedule, Task
from epsam.metrics import accuracy, auroc

NAME = "classifier"


def build_classifier_task(
    model: nn.Module,
    train: Sequence[Patch],
    val: Sequence[Patch],
    size: int,
    options: ClassifierOptions,
    device_config: DeviceConfig,
) -> Task:
    """The classifier with Adam, augmented batches in an order drawn for each epoch, and its
    validation.
    """

    def batches(epoch: int, first_step: int) -> Iterator[PatchBatch]:
        order = generator(options.seed, NAME, "order", epoch).permutation(len(train)).tolist()
        return load_batches(
            train,
            size,
            options.batch_size,
            options.workers,
            order[first_step * options.batch_size :],
        )

    def loss(batch: PatchBatch, epoch: int) -> Tensor:
        draws = [
            draw_augmentation(generator(options.seed, NAME, "augment", epoch, name))
            for name in batch.names
        ]
        with device_config.autocast():
            logits = model(augment(unit_images(batch, device_config), draws))
        return F.binary_cross_entropy_with_logits(
            logits.float(), batch.labels.to(device_config.device)
        )

    def validate() -> dict[str, float]:
        figures = score_classifier(model, val, size, options, device_config)
        return {f"val_{name}": value for name, value in figures.items()}

    optimiser = torch.optim.Adam(
        model.parameters(), lr=options.lr, weight_decay=options.weight_decay
    )
    steps = -(-len(train) // options.batch_size)
    return Task(
        NAME, options.seed, model, optimiser, batches, loss, validate, steps, device_config.scaler()
    )


def build_classifier_schedule(options: ClassifierOptions) -> FitSchedule:
    """Best validation loss, early stop, and a learning rate that falls by a factor every few
    epochs.
    """

    def lr_factor(step: int, steps_per_epoch: int) -> float:
        return (
            options.lr_decay ** (step // steps_per_epoch // options.lr_step)
            if options.lr_step
            else 1.0
        )

    return FitSchedule(
        options.epoch, options.patience, "val_loss", higher_is_better=False, lr_factor=lr_factor
    )


@torch.no_grad()
def score_classifier(
    model: nn.Module,
    patches: Sequence[Patch],
    size: int,
    options: ClassifierOptions,
    device_config: DeviceConfig,
) -> dict[str, float]:
    """Mean loss on logits (methods D23), accuracy and AUROC over un-augmented patches; nan without
    patches.
    """
    model.eval()
    logits: list[float] = []
    labels: list[int] = []
    for batch in load_batches(patches, size, options.batch_size, options.workers):
        with device_config.autocast():
            logits += model(unit_images(batch, device_config)).float().tolist()
        labels += batch.labels.int().tolist()
    scores = torch.tensor(logits)
    loss = (
        float(F.binary_cross_entropy_with_logits(scores, torch.tensor(labels).float()))
        if logits
        else float("nan")
    )
    probabilities = scores.sigmoid().tolist()
    return {
        "loss": loss,
        "accuracy": accuracy(probabilities, labels),
        "auroc": auroc(probabilities, labels),
    }


def unit_images(batch: PatchBatch, device_config: DeviceConfig) -> Tensor:
    """A batch's images (B, 3, side, side) in 0..1 on the device."""
    return batch.images.to(device_config.device, non_blocking=True).float() / 255
