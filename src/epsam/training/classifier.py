"""Training and scoring of the patch classifier (paper 3.2.1, 4.2)."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from epsam.config.classifier import ClassifierOptions
from epsam.core.device import DeviceConfig
from epsam.core.distributed import gather_parts, part_of_process
from epsam.core.seeding import generator
from epsam.data.augmentation import augment, draw_augmentation
from epsam.data.batches import PatchBatch, load_listed_batches
from epsam.data.patches import Patch
from epsam.data.stain_jitter import draw_stain_jitter, jitter_stains
from epsam.engine.fit import FitSchedule
from epsam.engine.task import Task
from epsam.metrics import accuracy, auroc
from epsam.training.epoch_batches import load_epoch
from epsam.weak.adl import set_adl_active
from epsam.weak.subclasses import NO_TUMOUR

NAME = "classifier"


def build_classifier_task(
    model: Any,
    train: Sequence[Patch],
    val: Sequence[Patch],
    size: int,
    options: ClassifierOptions,
    device_config: DeviceConfig,
    subclasses: Mapping[str, int] | None = None,
) -> Task:
    """The task of fitting a weak model: Adam on its loss, augmented training patches
    in a new random order for each epoch, and the scores of the validation patches.

    model: a `WeakModel`. size: side of all patches in px. subclasses: by name of a patch with
    tumour, for the model's second head; None or empty: it has none.
    """
    average = build_average(model, options.ema)
    weights = class_weights(train) if options.balance_classes else None

    def compute_loss(batch: PatchBatch, epoch: int) -> Tensor:
        start_epoch(model, epoch, options)
        labels = batch.labels.to(device_config.device)
        with device_config.autocast():
            images = _augment_batch(batch, epoch, options, device_config)
            if subclasses:
                losses = _loss_of_both_heads(model, images, labels, batch.names, subclasses)
            else:
                losses = model.loss(images, labels)
        if weights is None:
            return losses
        return losses * weights.to(losses.device)[labels.long()]

    def validate() -> dict[str, float]:
        fitted = model if average is None else average.module
        scores = score_classifier(fitted, val, size, options, device_config)
        return {f"val_{name}": value for name, value in scores.items()}

    optimiser = torch.optim.Adam(
        _group_parameters(model, options), lr=options.lr, weight_decay=options.weight_decay
    )
    return Task(
        name=NAME,
        seed=options.seed,
        model=model,
        optimiser=optimiser,
        batches=partial(load_epoch, train, size, _as_loaded, NAME, options),
        loss=compute_loss,
        validate=validate,
        steps=-(-len(train) // options.batch_size),
        scaler=device_config.scaler(),
        average=average,
    )


def class_weights(train: Sequence[Patch]) -> Tensor:
    """Weights (2,) of the losses of normal patches and patches with tumour: inverse to how many
    there are, and 1 on average over all patches if both are there. A class without patches has 0.
    """
    n_tumour = sum(1 for patch in train if patch.label == 1)
    counts = (len(train) - n_tumour, n_tumour)
    return torch.tensor([len(train) / (2 * count) if count else 0.0 for count in counts])


def _augment_batch(
    batch: PatchBatch, epoch: int, options: ClassifierOptions, device_config: DeviceConfig
) -> Tensor:
    """A batch's images (B, 3, side, side) in 0..1, each augmented by its own draw."""
    augmentations = []
    jitters = []
    for name in batch.names:
        rng = generator(options.seed, NAME, "augment", epoch, name)
        augmentations.append(draw_augmentation(rng))
        jitters.append(draw_stain_jitter(rng, options.stain_jitter))

    images = scale_images(batch, device_config)
    if options.stain_jitter:
        # Before the rotation, whose corners are black and no stain.
        images = jitter_stains(images, jitters)
    return augment(images, augmentations)


def _as_loaded(batch: PatchBatch) -> PatchBatch:
    """Images and labels are all that a classifier needs."""
    return batch


def _loss_of_both_heads(
    model: Any,
    images: Tensor,
    labels: Tensor,
    names: Sequence[str],
    subclasses: Mapping[str, int],
) -> Tensor:
    """The loss (B,) of a `WeakModel` with a head for sub-classes."""
    numbers = [subclasses.get(name, NO_TUMOUR) for name in names]
    losses: Tensor = model.loss(images, labels, torch.tensor(numbers, device=labels.device))
    return losses


def start_epoch(model: Any, epoch: int, options: ClassifierOptions) -> None:
    """Set what changes from epoch to epoch in a weak model; epochs count from 0."""
    set_adl_active(model, epoch + 1 >= options.adl_begin)
    # Progressive dropout attention.
    if hasattr(model, "start_epoch"):
        model.start_epoch(epoch)


def build_average(model: nn.Module, decay: float) -> AveragedModel | None:
    """The exponential moving average of a network's weights and buffers; None with decay 0.

    Its first value is the network after its first step.
    """
    if not decay:
        return None
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)


def _group_parameters(model: Any, options: ClassifierOptions) -> Any:
    """The parameters for the optimiser, in groups if some learn at a rate of their own."""
    if hasattr(model, "parameter_groups"):
        return model.parameter_groups(options.lr, options.side_lr_factor)
    return model.parameters()


def build_classifier_schedule(options: ClassifierOptions) -> FitSchedule:
    """Keep the epoch with the best validation loss, stop early, and lower the learning rate by a
    factor every few epochs (docs/deviations.md, "Classifier schedule").

    With `--warm_up` the rate rises linearly, step by step, over the first epochs.
    """

    def lr_factor(step: int, steps_per_epoch: int) -> float:
        warm_up_steps = options.warm_up * steps_per_epoch
        rise = min(1.0, (step + 1) / warm_up_steps) if warm_up_steps else 1.0
        if not options.lr_step:
            return rise
        epoch = step // steps_per_epoch
        return rise * options.lr_decay ** (epoch // options.lr_step)

    return FitSchedule(
        options.epoch, options.patience, "val_loss", higher_is_better=False, lr_factor=lr_factor
    )


@torch.no_grad()
def score_classifier(
    model: Any,
    patches: Sequence[Patch],
    size: int,
    options: ClassifierOptions,
    device_config: DeviceConfig,
) -> dict[str, float]:
    """Loss, accuracy and AUROC over un-augmented patches; nan without patches."""
    model.eval()
    starts = range(0, len(patches), options.batch_size)
    batches = [range(len(patches))[start : start + options.batch_size] for start in starts]
    # Each process scores some of the same batches, so that rounding is that of one process.
    loaded = load_listed_batches(patches, size, part_of_process(batches), options.workers)
    scores_of_batches: list[tuple[list[float], list[int]]] = []
    for batch in loaded:
        with device_config.autocast():
            batch_logits = model(scale_images(batch, device_config)).float().tolist()
        scores_of_batches.append((batch_logits, batch.labels.int().tolist()))

    logits: list[float] = []
    labels: list[int] = []
    for batch_logits, batch_labels in gather_parts(scores_of_batches):
        logits += batch_logits
        labels += batch_labels

    scores = torch.tensor(logits)
    loss = float("nan")
    if logits:
        # On logits, as in training (docs/deviations.md, "Validation loss on logits").
        loss = float(F.binary_cross_entropy_with_logits(scores, torch.tensor(labels).float()))
    probabilities = scores.sigmoid().tolist()
    return {
        "loss": loss,
        "accuracy": accuracy(probabilities, labels),
        "auroc": auroc(probabilities, labels),
    }


def scale_images(batch: PatchBatch, device_config: DeviceConfig) -> Tensor:
    """A batch's images (B, 3, side, side), moved to the device and scaled to 0..1."""
    # Bytes go to the device and are scaled there: a quarter of the transfer.
    return batch.images.to(device_config.device, non_blocking=True).float() / 255
