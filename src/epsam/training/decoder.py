"""Fitting and applying the mask decoder (paper 3.3.2): the same for the preliminary decoder and
every round.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from epsam.config.decoder import DecoderOptions
from epsam.core.seeding import generator
from epsam.data.cam_store import CamMap
from epsam.data.d4 import apply_d4, draw_d4, undo_d4
from epsam.data.embeddings import Embedding, PatchEmbeddings
from epsam.data.images import Mask, read_mask, read_probability
from epsam.data.patches import Patch
from epsam.engine.fit import FitSchedule, Task
from epsam.metrics import count_pixels, macro_dice_iou
from epsam.segment.sam.losses import decoder_loss
from epsam.segment.sam.prompting.point_sampling import PointPrompt
from epsam.segment.sam.prompting.rules import (
    PromptInputs,
    collate_inputs,
    make_prompts,
    transform_inputs,
)
from epsam.segment.sam.prompting.sam_prompt import (
    SamPrompt,
    all_points,
    components_touching,
    largest_components,
    mask_prompt,
)
from epsam.segment.sam.segmenter import SamSegmenter


@dataclass(frozen=True)
class Example:
    """A patch and the mask file it is fitted to; None: nothing in it is tumour. soft: the mask's
    probabilities.
    """

    patch: Patch
    target: Path | None
    soft: Path | None = None


@dataclass(frozen=True)
class PromptedPatch:
    """A patch and what SAM is asked about it: (view, queries in that view), whose answers are
    averaged.

    Without a query its mask is empty. initial: its initial mask.
    """

    patch: Patch
    prompts: tuple[tuple[int, tuple[SamPrompt, ...]], ...]
    initial_mask: Path | None = None

    @property
    def first_points(self) -> PointPrompt:
        """The points and corners of what is asked first, about the patch as it is."""
        return all_points(self.prompts[0][1])


@dataclass(frozen=True)
class DecoderBatch:
    """Embeddings, queries, targets (B, side, side) in 0..1, and names, of one step."""

    embeddings: list[Embedding]
    prompts: list[SamPrompt]
    targets: Tensor
    names: list[str]


def decoder_task(
    name: str,
    segmenter: SamSegmenter,
    embeddings: PatchEmbeddings,
    examples: Sequence[Example],
    validation: Sequence[PromptedPatch],
    hints_of: Callable[[Patch], PromptInputs],
    options: DecoderOptions,
) -> Task:
    """The decoder with AdamW on Dice + IoU; by default points are drawn from the target mask
    (methods D2).

    `hints_of` tells what prompts may be made of where --train_prompt draws them elsewhere.
    """

    def batches(epoch: int, first_step: int) -> Iterator[DecoderBatch]:
        order = generator(options.seed, name, "order", epoch).permutation(len(examples))
        for start in range(first_step * options.batch_size, len(order), options.batch_size):
            chosen = [examples[index] for index in order[start : start + options.batch_size]]
            yield _batch(name, chosen, embeddings, hints_of, options, epoch)

    def loss(batch: DecoderBatch, epoch: int) -> Tensor:
        logits = segmenter.logits(batch.embeddings, batch.prompts)
        return decoder_loss(logits, batch.targets.to(logits.device), options.soft_targets)

    def validate() -> dict[str, float]:
        return validation_metrics(segmenter, embeddings, validation, options)

    decoder = segmenter.sam.mask_decoder
    optimiser = torch.optim.AdamW(
        decoder.parameters(), lr=options.lr, weight_decay=options.weight_decay
    )
    steps = -(-len(examples) // options.batch_size)
    return Task(
        name,
        options.seed,
        decoder,
        optimiser,
        batches,
        loss,
        validate,
        steps,
        segmenter.device_config.scaler(),
    )


def decoder_schedule(options: DecoderOptions) -> FitSchedule:
    """Best validation figure or last epoch (methods D7), early stop, cosine over all steps (methods
    D34).
    """

    def lr_factor(step: int, steps_per_epoch: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * step / (options.epoch * steps_per_epoch)))

    monitor = {"ground_truth": "val_dice", "pseudo": "val_pseudo_dice", "last": ""}[
        options.select_on
    ]
    return FitSchedule(
        options.epoch, options.patience, monitor, higher_is_better=True, lr_factor=lr_factor
    )


def predict_masks(
    segmenter: SamSegmenter,
    embeddings: PatchEmbeddings,
    asked: Sequence[PromptedPatch],
    batch_size: int,
) -> Iterator[tuple[PromptedPatch, Mask]]:
    """Masks (side, side) of un-augmented patches (methods D28), in the order asked."""
    for prompted, probability in predict_probabilities(segmenter, embeddings, asked, batch_size):
        yield prompted, probability > 0.5


def predict_probabilities(
    segmenter: SamSegmenter,
    embeddings: PatchEmbeddings,
    asked: Sequence[PromptedPatch],
    batch_size: int,
) -> Iterator[tuple[PromptedPatch, CamMap]]:
    """Tumour probabilities (side, side), each the mean over all that is asked about its patch."""
    for start in range(0, len(asked), batch_size):
        group = asked[start : start + batch_size]
        # All patches are asked in the same views.
        variants = zip(*(prompted.prompts for prompted in group), strict=True)
        total, count = np.zeros((), np.float32), len(group[0].prompts)
        for variant in variants:
            view = variant[0][0]
            found = segmenter.probabilities(
                [embeddings(p.patch, view) for p in group], [own for _, own in variant]
            )
            total = total + np.stack([undo_d4(probability, view) for probability in found])
        yield from zip(group, total / np.float32(count), strict=True)


def validation_metrics(
    segmenter: SamSegmenter,
    embeddings: PatchEmbeddings,
    asked: Sequence[PromptedPatch],
    options: DecoderOptions,
) -> dict[str, float]:
    """Mean Dice and IoU over the patches that have a truth (nan without any); for --select_on
    pseudo, the mean Dice with the initial masks too, over all patches.
    """
    pseudo = options.select_on == "pseudo"
    wanted = [prompted for prompted in asked if pseudo or prompted.patch.mask is not None]
    true, initial = [], []
    for prompted, mask in predict_masks(segmenter, embeddings, wanted, options.batch_size):
        if prompted.patch.mask is not None:
            true.append(count_pixels(mask, prompted.patch.ground_truth()))
        if pseudo and prompted.initial_mask is not None:
            initial.append(count_pixels(mask, read_mask(prompted.initial_mask)))
    dice, iou = macro_dice_iou(true)
    return {"val_dice": dice, "val_iou": iou} | (
        {"val_pseudo_dice": macro_dice_iou(initial)[0]} if pseudo else {}
    )


def _batch(
    name: str,
    examples: Sequence[Example],
    embeddings: PatchEmbeddings,
    hints_of: Callable[[Patch], PromptInputs],
    options: DecoderOptions,
    epoch: int,
) -> DecoderBatch:
    rngs = [
        generator(options.seed, name, "example", epoch, example.patch.name) for example in examples
    ]
    views = [draw_d4(options.embedding_transforms, rng) for rng in rngs]

    @cache
    def seen(index: int) -> PromptInputs:
        return transform_inputs(hints_of(examples[index].patch), views[index])

    shown = list(zip(examples, views, strict=True))
    targets = np.stack(
        [
            apply_d4(read_mask(example.target), view)
            if example.target
            else np.zeros_like(seen(index).mask)
            for index, (example, view) in enumerate(shown)
        ]
    )
    queries, fitted = training_prompts(targets, seen, options, rngs)
    shares = [
        apply_d4(read_probability(example.soft), view) if example.soft else target
        for (example, view), target in zip(shown, targets, strict=True)
    ]
    kept = [embeddings(example.patch, view) for example, view in shown]
    values = torch.from_numpy(np.where(targets & ~fitted, 0, np.stack(shares))).float()
    return DecoderBatch(kept, queries, values, [example.patch.name for example in examples])


def training_prompts(
    targets: Mask,
    seen: Callable[[int], PromptInputs],
    options: DecoderOptions,
    rngs: Sequence[np.random.Generator],
) -> tuple[list[SamPrompt], Mask]:
    """What a training step asks, out of the masks that are fitted to or out of what is seen of the
    patches, and what of the masks (B, side, side) it is fitted to.

    targets (B, side, side), and the hints of the patch of an index, are in the step's views. Where
    hints give no prompt, the same rule is applied to the target. Of the regions that inference asks
    about one by one, a step asks about one, drawn at random, and is fitted to what of the target
    touches it.
    """
    wanted = {"mask": "mask_random", "same": options.prompt}.get(
        options.train_prompt, options.train_prompt
    )
    rule = replace(options, prompt=wanted)
    # An empty target has no points of its own to ask with.
    own = [options.train_prompt == "mask" and bool(target.any()) for target in targets]
    whole = [
        seen(index) if options.mask_prompt or not mine else None for index, mine in enumerate(own)
    ]
    parts = [
        hints and _one_part(hints, 0 if mine else options.n_region, rng)
        for hints, mine, rng in zip(whole, own, rngs, strict=True)
    ]
    asked = [
        _certain(target) if mine or not part else part
        for target, mine, part in zip(targets, own, parts, strict=True)
    ]
    prompts = make_prompts(collate_inputs(asked), rule, rngs)
    for index in [index for index, prompt in enumerate(prompts) if not len(prompt)]:
        asked[index] = _certain(targets[index])
        prompts[index] = make_prompts(collate_inputs([asked[index]]), rule, [rngs[index]])[0]
    queries = [
        SamPrompt(
            prompt, mask_prompt(part or hints, hints) if hints and options.mask_prompt else None
        )
        for prompt, part, hints in zip(prompts, parts, whole, strict=True)
    ]
    if not options.n_region:
        return queries, targets
    return queries, np.stack(
        [
            components_touching(target, part.mask)
            for target, part in zip(targets, asked, strict=True)
        ]
    )


def _one_part(hints: PromptInputs, count: int, rng: np.random.Generator) -> PromptInputs | None:
    parts = largest_components(hints, count)
    return parts[int(rng.integers(len(parts)))] if len(parts) > 1 else next(iter(parts), None)


def _certain(mask: Mask) -> PromptInputs:
    """A mask (side, side) as if the classifier were sure of it."""
    return PromptInputs(mask.astype(np.float32), mask, lambda: mask)
