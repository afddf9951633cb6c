"""Fitting and applying the mask decoder (paper 3.3.2): the same for the preliminary decoder and every round."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from epsam.data.embeddings import Embedding, PatchEmbeddings
from epsam.data.images import Mask, read_mask
from epsam.data.patches import Patch
from epsam.data.views import apply_view, draw_view, undo_view
from epsam.options import DecoderOptions
from epsam.randomness import generator
from epsam.sam.losses import dice_iou_loss
from epsam.sam.prompt_rules import Hints, make_prompts, stacked, viewed
from epsam.sam.prompts import Prompt
from epsam.sam.segmenter import Segmenter
from epsam.training.fit import Schedule, Task
from epsam.training.metrics import mean_dice_iou, overlap


@dataclass(frozen=True)
class Example:
    """A patch and the mask file it is fitted to."""

    patch: Patch
    target: Path


@dataclass(frozen=True)
class Prompted:
    """A patch and what SAM is asked about it; with an empty prompt its mask is empty.

    initial: its initial mask. variants: further (view, prompt in that view) whose answers are averaged with the first.
    """

    patch: Patch
    prompt: Prompt
    initial: Path | None = None
    variants: tuple[tuple[int, Prompt], ...] = ()


@dataclass(frozen=True)
class DecoderBatch:
    """Embeddings, prompts, targets (B, side, side) of 0 and 1, and names, of one step."""

    embeddings: list[Embedding]
    prompts: list[Prompt]
    targets: Tensor
    names: list[str]


def decoder_task(name: str, segmenter: Segmenter, embeddings: PatchEmbeddings, examples: Sequence[Example],
                 validation: Sequence[Prompted], hints_of: Callable[[Patch], Hints],
                 options: DecoderOptions) -> Task:
    """The decoder with AdamW on Dice + IoU; by default points are drawn from the target mask (methods D2).

    `hints_of` tells what prompts may be made of where --train_prompt draws them elsewhere.
    """

    def batches(epoch: int, first_step: int) -> Iterator[DecoderBatch]:
        order = generator(options.seed, name, "order", epoch).permutation(len(examples))
        for start in range(first_step * options.batch_size, len(order), options.batch_size):
            chosen = [examples[index] for index in order[start : start + options.batch_size]]
            yield _batch(name, chosen, embeddings, hints_of, options, epoch)

    def loss(batch: DecoderBatch, epoch: int) -> Tensor:
        logits = segmenter.logits(batch.embeddings, batch.prompts)
        return dice_iou_loss(logits.sigmoid(), batch.targets.to(logits.device))

    def validate() -> dict[str, float]:
        return validation_figures(segmenter, embeddings, validation, options)

    decoder = segmenter.sam.mask_decoder
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    steps = -(-len(examples) // options.batch_size)
    return Task(name, options.seed, decoder, optimiser, batches, loss, validate, steps)


def decoder_schedule(options: DecoderOptions) -> Schedule:
    """Best validation figure or last epoch (methods D7), early stop, cosine over all steps (methods D34)."""

    def rate(step: int, steps_per_epoch: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * step / (options.epoch * steps_per_epoch)))

    monitor = {"truth": "val_dice", "pseudo": "val_pseudo_dice", "last": ""}[options.select_on]
    return Schedule(options.epoch, options.patience, monitor, higher_is_better=True, rate=rate)


def predict(segmenter: Segmenter, embeddings: PatchEmbeddings, asked: Sequence[Prompted],
            batch_size: int) -> Iterator[tuple[Prompted, Mask]]:
    """Masks (side, side) of un-augmented patches (methods D28), in the order asked."""
    for start in range(0, len(asked), batch_size):
        group = asked[start : start + batch_size]
        yield from zip(group, _masks(segmenter, embeddings, group), strict=True)


def _masks(segmenter: Segmenter, embeddings: PatchEmbeddings, group: Sequence[Prompted]) -> list[Mask]:
    """Masks of a group, each from the mean over all that is asked about its patch; all are asked in the same views."""
    if not group[0].variants:
        return segmenter.masks([embeddings(p.patch) for p in group], [p.prompt for p in group])
    asked = [((0, p.prompt), *p.variants) for p in group]
    total = np.zeros(())
    for number, (view, _) in enumerate(asked[0]):
        found = segmenter.probabilities([embeddings(p.patch, view) for p in group], [one[number][1] for one in asked])
        total = total + np.stack([undo_view(probability, view) for probability in found])
    return list(total / len(asked[0]) > 0.5)


def validation_figures(segmenter: Segmenter, embeddings: PatchEmbeddings, asked: Sequence[Prompted],
                       options: DecoderOptions) -> dict[str, float]:
    """Mean Dice and IoU over the patches that have a truth (nan without any); for --select_on pseudo, the mean Dice
    with the initial masks too, over all patches."""
    pseudo = options.select_on == "pseudo"
    wanted = [prompted for prompted in asked if pseudo or prompted.patch.mask is not None]
    true, initial = [], []
    for prompted, mask in predict(segmenter, embeddings, wanted, options.batch_size):
        if prompted.patch.mask is not None:
            true.append(overlap(mask, prompted.patch.truth()))
        if pseudo and prompted.initial is not None:
            initial.append(overlap(mask, read_mask(prompted.initial)))
    dice, iou = mean_dice_iou(true)
    return {"val_dice": dice, "val_iou": iou} | ({"val_pseudo_dice": mean_dice_iou(initial)[0]} if pseudo else {})


def _batch(name: str, examples: Sequence[Example], embeddings: PatchEmbeddings, hints_of: Callable[[Patch], Hints],
           options: DecoderOptions, epoch: int) -> DecoderBatch:
    rngs = [generator(options.seed, name, "example", epoch, example.patch.name) for example in examples]
    views = [draw_view(options.embedding_views, rng) for rng in rngs]
    shown = list(zip(examples, views, strict=True))
    targets = np.stack([apply_view(read_mask(example.target), view) for example, view in shown])
    prompts = training_prompts(targets, lambda: [viewed(hints_of(example.patch), view) for example, view in shown],
                               options, rngs)
    kept = [embeddings(example.patch, view) for example, view in shown]
    return DecoderBatch(kept, prompts, torch.from_numpy(targets).float(), [example.patch.name for example in examples])


def training_prompts(targets: Mask, seen: Callable[[], Sequence[Hints]], options: DecoderOptions,
                     rngs: Sequence[np.random.Generator]) -> list[Prompt]:
    """The prompts of a training step: out of the masks that are fitted to, or out of what is `seen` of the patches.

    targets (B, side, side), and what `seen` gives, in the step's views. Where the hints give no prompt, the same rule
    is applied to the target.
    """
    wanted = {"mask": "mask_random", "pepm": "pepm", "same": options.prompt}[options.train_prompt]
    rule = replace(options, prompt=wanted)
    if options.train_prompt == "mask":
        return make_prompts(_certain(targets), rule, rngs)
    prompts = make_prompts(stacked(seen()), rule, rngs)
    empty = [index for index, prompt in enumerate(prompts) if not len(prompt)]
    if empty:
        made = make_prompts(_certain(targets[empty]), rule, [rngs[index] for index in empty])
        for index, prompt in zip(empty, made, strict=True):
            prompts[index] = prompt
    return prompts


def _certain(masks: Mask) -> Hints:
    """Masks (B, side, side) as if the classifier were sure of them."""
    return Hints(masks.astype(np.float32), masks, lambda: masks)
