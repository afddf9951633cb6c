"""Fitting and applying the mask decoder (paper 3.3.2): the same for the preliminary decoder and every round."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from epsam.data.activations import Map
from epsam.data.embeddings import Embedding, PatchEmbeddings
from epsam.data.images import Mask, read_mask, read_share
from epsam.data.patches import Patch
from epsam.data.views import apply_view, draw_view, undo_view
from epsam.options import DecoderOptions
from epsam.randomness import generator
from epsam.sam.losses import decoder_loss
from epsam.sam.prompt_rules import Hints, make_prompts, stacked, viewed
from epsam.sam.prompts import Prompt
from epsam.sam.queries import Query, mask_prompt, parts_of, points_of, touched
from epsam.sam.segmenter import Segmenter
from epsam.training.fit import Schedule, Task
from epsam.training.metrics import mean_dice_iou, overlap


@dataclass(frozen=True)
class Example:
    """A patch and the mask file it is fitted to; None: nothing in it is tumour. soft: the mask's probabilities."""

    patch: Patch
    target: Path | None
    soft: Path | None = None


@dataclass(frozen=True)
class Prompted:
    """A patch and what SAM is asked about it: (view, queries in that view), whose answers are averaged.

    Without a query its mask is empty. initial: its initial mask.
    """

    patch: Patch
    asked: tuple[tuple[int, tuple[Query, ...]], ...]
    initial: Path | None = None

    @property
    def prompt(self) -> Prompt:
        """The points and corners of what is asked first, about the patch as it is."""
        return points_of(self.asked[0][1])


@dataclass(frozen=True)
class DecoderBatch:
    """Embeddings, queries, targets (B, side, side) in 0..1, and names, of one step."""

    embeddings: list[Embedding]
    queries: list[Query]
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
        logits = segmenter.logits(batch.embeddings, batch.queries)
        return decoder_loss(logits, batch.targets.to(logits.device), options.soft_targets)

    def validate() -> dict[str, float]:
        return validation_figures(segmenter, embeddings, validation, options)

    decoder = segmenter.sam.mask_decoder
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    steps = -(-len(examples) // options.batch_size)
    return Task(name, options.seed, decoder, optimiser, batches, loss, validate, steps, segmenter.compute.scaler())


def decoder_schedule(options: DecoderOptions) -> Schedule:
    """Best validation figure or last epoch (methods D7), early stop, cosine over all steps (methods D34)."""

    def rate(step: int, steps_per_epoch: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * step / (options.epoch * steps_per_epoch)))

    monitor = {"truth": "val_dice", "pseudo": "val_pseudo_dice", "last": ""}[options.select_on]
    return Schedule(options.epoch, options.patience, monitor, higher_is_better=True, rate=rate)


def predict(segmenter: Segmenter, embeddings: PatchEmbeddings, asked: Sequence[Prompted],
            batch_size: int) -> Iterator[tuple[Prompted, Mask]]:
    """Masks (side, side) of un-augmented patches (methods D28), in the order asked."""
    for prompted, probability in probabilities(segmenter, embeddings, asked, batch_size):
        yield prompted, probability > 0.5


def probabilities(segmenter: Segmenter, embeddings: PatchEmbeddings, asked: Sequence[Prompted],
                  batch_size: int) -> Iterator[tuple[Prompted, Map]]:
    """Tumour probabilities (side, side), each the mean over all that is asked about its patch."""
    for start in range(0, len(asked), batch_size):
        group = asked[start : start + batch_size]
        # All patches are asked in the same views.
        variants = zip(*(prompted.asked for prompted in group), strict=True)
        total, count = np.zeros((), np.float32), len(group[0].asked)
        for variant in variants:
            view = variant[0][0]
            found = segmenter.probabilities([embeddings(p.patch, view) for p in group], [own for _, own in variant])
            total = total + np.stack([undo_view(probability, view) for probability in found])
        yield from zip(group, total / np.float32(count), strict=True)


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

    @cache
    def seen(index: int) -> Hints:
        return viewed(hints_of(examples[index].patch), views[index])

    shown = list(zip(examples, views, strict=True))
    targets = np.stack([apply_view(read_mask(example.target), view) if example.target
                        else np.zeros_like(seen(index).mask) for index, (example, view) in enumerate(shown)])
    queries, fitted = training_queries(targets, seen, options, rngs)
    shares = [apply_view(read_share(example.soft), view) if example.soft else target
              for (example, view), target in zip(shown, targets, strict=True)]
    kept = [embeddings(example.patch, view) for example, view in shown]
    values = torch.from_numpy(np.where(targets & ~fitted, 0, np.stack(shares))).float()
    return DecoderBatch(kept, queries, values, [example.patch.name for example in examples])


def training_queries(targets: Mask, seen: Callable[[int], Hints], options: DecoderOptions,
                     rngs: Sequence[np.random.Generator]) -> tuple[list[Query], Mask]:
    """What a training step asks, out of the masks that are fitted to or out of what is seen of the patches, and what of
    the masks (B, side, side) it is fitted to.

    targets (B, side, side), and the hints of the patch of an index, are in the step's views. Where hints give no
    prompt, the same rule is applied to the target. Of the regions that inference asks about one by one, a step asks
    about one, drawn at random, and is fitted to what of the target touches it.
    """
    wanted = {"mask": "mask_random", "same": options.prompt}.get(options.train_prompt, options.train_prompt)
    rule = replace(options, prompt=wanted)
    # An empty target has no points of its own to ask with.
    own = [options.train_prompt == "mask" and bool(target.any()) for target in targets]
    whole = [seen(index) if options.mask_prompt or not mine else None for index, mine in enumerate(own)]
    parts = [hints and _one_part(hints, 0 if mine else options.n_region, rng)
             for hints, mine, rng in zip(whole, own, rngs, strict=True)]
    asked = [_certain(target) if mine or not part else part
             for target, mine, part in zip(targets, own, parts, strict=True)]
    prompts = make_prompts(stacked(asked), rule, rngs)
    for index in [index for index, prompt in enumerate(prompts) if not len(prompt)]:
        asked[index] = _certain(targets[index])
        prompts[index] = make_prompts(stacked([asked[index]]), rule, [rngs[index]])[0]
    queries = [Query(prompt, mask_prompt(part or hints, hints) if hints and options.mask_prompt else None)
               for prompt, part, hints in zip(prompts, parts, whole, strict=True)]
    if not options.n_region:
        return queries, targets
    return queries, np.stack([touched(target, part.mask) for target, part in zip(targets, asked, strict=True)])


def _one_part(hints: Hints, count: int, rng: np.random.Generator) -> Hints | None:
    parts = parts_of(hints, count)
    return parts[int(rng.integers(len(parts)))] if len(parts) > 1 else next(iter(parts), None)


def _certain(mask: Mask) -> Hints:
    """A mask (side, side) as if the classifier were sure of it."""
    return Hints(mask.astype(np.float32), mask, lambda: mask)
