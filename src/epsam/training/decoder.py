"""Training, validation and prediction of the mask decoder (paper 3.3.2), the same for the
preliminary decoder and for every round.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from epsam.config.decoder import DecoderOptions
from epsam.core.distributed import current_world, gather_parts, part_of_process
from epsam.core.leaves import cut_batches
from epsam.core.seeding import generator
from epsam.data.cam_store import CamMap
from epsam.data.d4 import apply_d4, draw_d4, undo_d4
from epsam.data.embeddings import Embedding, PatchEmbeddings
from epsam.data.holes import fill_probability_holes
from epsam.data.images import Mask, read_mask
from epsam.data.patches import Patch
from epsam.engine.fit import FitSchedule
from epsam.engine.leaf_step import LeafBatch
from epsam.engine.task import Task
from epsam.metrics import PixelCounts, count_pixels, macro_dice_iou
from epsam.segment.sam.prompting.point_sampling import PointPrompt
from epsam.segment.sam.prompting.rules import PromptInputs, transform_inputs
from epsam.segment.sam.prompting.sam_prompt import SamPrompt, all_points
from epsam.segment.sam.segmenter import PromptedEmbeddings, SamSegmenter
from epsam.training.epoch_batches import draw_order
from epsam.training.example_targets import load_target, load_values, load_weights
from epsam.training.round_data import Example
from epsam.training.training_prompts import sample_training_prompts


@dataclass(frozen=True)
class PromptedPatch:
    """A patch and its prompts: (transform of D4, prompts in its frame), whose masks are averaged.

    A transform without a prompt counts as an empty mask. initial_mask: the file of the patch's
    initial mask.
    """

    patch: Patch
    prompts: tuple[tuple[int, tuple[SamPrompt, ...]], ...]
    initial_mask: Path | None = None

    @property
    def first_points(self) -> PointPrompt:
        """The points and corners (N, 3) of the first prompts, in the patch's own frame."""
        return all_points(self.prompts[0][1])


@dataclass(frozen=True)
class DecoderBatch:
    """Embeddings, prompts, targets (B, side, side) in 0..1 and names of one training step.

    weights: of the pixels (B, side, side), if a patch of them was corrected; None: all equal.
    """

    embeddings: list[Embedding]
    prompts: list[SamPrompt]
    targets: Tensor
    names: list[str]
    weights: Tensor | None = None


def build_decoder_task(
    name: str,
    segmenter: SamSegmenter,
    embeddings: PatchEmbeddings,
    examples: Sequence[Example],
    validation: Sequence[PromptedPatch],
    load_inputs: Callable[[Patch], PromptInputs],
    options: DecoderOptions,
) -> Task:
    """The decoder with AdamW on Dice + IoU loss; encoder and prompt encoder are not optimised.

    load_inputs: the prompt inputs of a training patch, for --train_prompt other than "mask".
    """

    def load_batch(epoch: int, indices: Sequence[int]) -> DecoderBatch:
        chunk = [examples[index] for index in indices]
        return _load_batch(name, chunk, embeddings, load_inputs, options, epoch)

    def batches(epoch: int, first_step: int) -> Iterator[DecoderBatch | LeafBatch]:
        order = draw_order(len(examples), options.seed, name, epoch)
        remaining = order[first_step * options.batch_size :]
        if options.leaves:
            cuts = cut_batches(remaining, options.batch_size, options.leaves, current_world())
            for cut, leaves in cuts:
                yield LeafBatch(cut, [load_batch(epoch, leaf) for leaf in leaves])
            return
        for start in range(0, len(remaining), options.batch_size):
            yield load_batch(epoch, remaining[start : start + options.batch_size])

    def loss(batch: DecoderBatch, epoch: int) -> Tensor:
        inputs = PromptedEmbeddings(batch.embeddings, batch.prompts)
        targets = batch.targets[:, None]
        return segmenter.loss(inputs, targets, options.soft_targets, batch.weights)

    def validate() -> dict[str, float]:
        return score_validation(segmenter, embeddings, validation, options)

    # The published code hands all of SAM to AdamW; the frozen parameters have no gradients anyway.
    decoder = segmenter.sam.mask_decoder
    optimiser = torch.optim.AdamW(
        decoder.parameters(), lr=options.lr, weight_decay=options.weight_decay
    )
    steps = -(-len(examples) // options.batch_size)
    scaler = segmenter.device_config.scaler()
    return Task(name, options.seed, decoder, optimiser, batches, loss, validate, steps, scaler)


def build_decoder_schedule(options: DecoderOptions) -> FitSchedule:
    """Best validation Dice or last epoch, early stopping, and a cosine over all steps.

    See docs/deviations.md, "Choice of the epoch" and "Decoder schedule".
    """

    def lr_factor(step: int, steps_per_epoch: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * step / (options.epoch * steps_per_epoch)))

    monitors = {"ground_truth": "val_dice", "pseudo": "val_pseudo_dice", "last": ""}
    return FitSchedule(
        options.epoch,
        options.patience,
        monitors[options.select_on],
        higher_is_better=True,
        lr_factor=lr_factor,
    )


def split_batches(
    patches: Sequence[PromptedPatch], batch_size: int
) -> list[Sequence[PromptedPatch]]:
    """The patches in batches. Processes share batches, so that rounding is that of one process."""
    return [patches[start : start + batch_size] for start in range(0, len(patches), batch_size)]


def predict_masks(
    segmenter: SamSegmenter,
    embeddings: PatchEmbeddings,
    prompted_patches: Sequence[PromptedPatch],
    batch_size: int,
    fill_holes: bool = False,
) -> Iterator[tuple[PromptedPatch, Mask]]:
    """Masks (side, side) of patches without augmentation, in their order.

    See docs/deviations.md, "Pseudo-labels from un-augmented patches".
    """
    for prompted, probability in predict_probabilities(
        segmenter, embeddings, prompted_patches, batch_size, fill_holes
    ):
        yield prompted, probability > 0.5


def predict_probabilities(
    segmenter: SamSegmenter,
    embeddings: PatchEmbeddings,
    prompted_patches: Sequence[PromptedPatch],
    batch_size: int,
    fill_holes: bool = False,
) -> Iterator[tuple[PromptedPatch, CamMap]]:
    """Tumour probabilities (side, side): the mean over a patch's transforms and prompt samples.

    fill_holes: no mask of them has a hole (--fill_decoder_holes).
    """
    for start in range(0, len(prompted_patches), batch_size):
        group = prompted_patches[start : start + batch_size]
        total = np.zeros((), np.float32)
        # All patches have their prompts in the same sequence of transforms.
        for variants in zip(*[prompted.prompts for prompted in group], strict=True):
            transform = variants[0][0]
            probabilities = segmenter.predict_probabilities(
                [embeddings(prompted.patch, transform) for prompted in group],
                [prompts for _, prompts in variants],
            )
            total = total + np.stack([undo_d4(image, transform) for image in probabilities])
        means = total / np.float32(len(group[0].prompts))
        for prompted, mean in zip(group, means, strict=True):
            yield prompted, fill_probability_holes(mean) if fill_holes else mean


def score_validation(
    segmenter: SamSegmenter,
    embeddings: PatchEmbeddings,
    prompted_patches: Sequence[PromptedPatch],
    options: DecoderOptions,
) -> dict[str, float]:
    """Macro Dice and IoU over the patches with a ground truth; nan without any.

    With --select_on pseudo also the macro Dice with the initial masks, over all patches.
    """
    with_pseudo = options.select_on == "pseudo"
    scored = [p for p in prompted_patches if with_pseudo or p.patch.mask is not None]
    counts_of_batches = []
    for batch in part_of_process(split_batches(scored, options.batch_size)):
        counts: list[tuple[PixelCounts | None, PixelCounts | None]] = []
        for prompted, mask in predict_masks(
            segmenter, embeddings, batch, options.batch_size, options.fill_decoder_holes
        ):
            by_truth = by_initial_mask = None
            if prompted.patch.mask is not None:
                by_truth = count_pixels(mask, prompted.patch.ground_truth())
            if with_pseudo and prompted.initial_mask is not None:
                by_initial_mask = count_pixels(mask, read_mask(prompted.initial_mask))
            counts.append((by_truth, by_initial_mask))
        counts_of_batches.append(counts)

    ground_truth_counts: list[PixelCounts] = []
    initial_mask_counts: list[PixelCounts] = []
    for counts in gather_parts(counts_of_batches):
        ground_truth_counts += [by_truth for by_truth, _ in counts if by_truth]
        initial_mask_counts += [by_mask for _, by_mask in counts if by_mask]

    dice, iou = macro_dice_iou(ground_truth_counts)
    metrics = {"val_dice": dice, "val_iou": iou}
    if with_pseudo:
        metrics["val_pseudo_dice"], _ = macro_dice_iou(initial_mask_counts)
    return metrics


def _load_batch(
    name: str,
    examples: Sequence[Example],
    embeddings: PatchEmbeddings,
    load_inputs: Callable[[Patch], PromptInputs],
    options: DecoderOptions,
    epoch: int,
) -> DecoderBatch:
    """Load a step's patches, each in a random transform of D4, and sample their prompts."""
    # A generator for each patch: its prompt must not depend on batch size or interruptions
    # (docs/deviations.md, "Randomness of prompts").
    rngs, transforms = [], []
    for example in examples:
        rng = generator(options.seed, name, "example", epoch, example.patch.name)
        rngs.append(rng)
        transforms.append(draw_d4(options.embedding_transforms, rng))

    @cache
    def load_transformed_inputs(index: int) -> PromptInputs:
        return transform_inputs(load_inputs(examples[index].patch), transforms[index])

    targets = []
    for index, example in enumerate(examples):
        if example.target or example.correction:
            targets.append(apply_d4(load_target(example), transforms[index]))
        else:
            targets.append(np.zeros_like(load_transformed_inputs(index).mask))
    masks = np.stack(targets)
    prompts, prompted_masks = sample_training_prompts(masks, load_transformed_inputs, options, rngs)

    values = []
    for example, target, transform in zip(examples, targets, transforms, strict=True):
        values.append(load_values(example, target, transform))
    weights = load_weights(examples, transforms, masks.shape[-1])
    # Tumours that the prompt does not point to count as background.
    prompted_values = np.where(masks & ~prompted_masks, 0, np.stack(values))
    return DecoderBatch(
        [embeddings(e.patch, t) for e, t in zip(examples, transforms, strict=True)],
        prompts,
        torch.from_numpy(prompted_values).float(),
        [example.patch.name for example in examples],
        None if weights is None else torch.from_numpy(weights),
    )
