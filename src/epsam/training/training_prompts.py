"""The prompts of a training step: one per patch, sampled from the target mask or from the CAM
(docs/deviations.md, "Training prompts").
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from epsam.config.decoder import DecoderOptions
from epsam.data.images import Mask
from epsam.segment.sam.prompting.mask_prompt import MaskPrompt, load_mask_prompt
from epsam.segment.sam.prompting.regions import restrict_target, sample_region
from epsam.segment.sam.prompting.rules import PromptInputs, collate_inputs, make_prompts
from epsam.segment.sam.prompting.sam_prompt import SamPrompt


@dataclass(frozen=True)
class PromptSource:
    """What the prompt of one patch is made from.

    region: where its points are sampled. cam: its dense prompt, if any.
    """

    region: PromptInputs
    cam: MaskPrompt | None


def sample_training_prompts(
    targets: Mask,
    load_inputs: Callable[[int], PromptInputs],
    options: DecoderOptions,
    rngs: Sequence[np.random.Generator],
) -> tuple[list[SamPrompt], Mask]:
    """Sample one prompt per patch, from the target mask or from the CAM (--train_prompt).

    targets (B, side, side); load_inputs: index of a patch → its prompt inputs, in the same D4
    transform as its target; rngs: a generator for each patch. Returns the prompts and the part of
    the targets (B, side, side) that the decoder is to segment with them.
    """
    rule = replace(options, prompt=_training_rule(options))
    sources = []
    for index, (target, rng) in enumerate(zip(targets, rngs, strict=True)):
        sources.append(_choose_source(target, partial(load_inputs, index), options, rng))
    points = make_prompts(collate_inputs([source.region for source in sources]), rule, rngs)

    prompts = []
    prompted_targets = []
    for index, source in enumerate(sources):
        region, target_points = source.region, points[index]
        if not len(target_points):
            # The CAM or its mask left the rule nothing to sample from. A training patch is always
            # prompted, so the same rule is applied to its target.
            region = _inputs_from_mask(targets[index])
            (target_points,) = make_prompts(collate_inputs([region]), rule, [rngs[index]])
        if not len(target_points):
            # A target that fills the patch is a constant map, of which PEPM samples nothing.
            uniform = replace(rule, prompt="mask_random")
            (target_points,) = make_prompts(collate_inputs([region]), uniform, [rngs[index]])
        prompts.append(SamPrompt(target_points, source.cam))
        prompted_targets.append(restrict_target(targets[index], region, options))
    return prompts, np.stack(prompted_targets)


def _training_rule(options: DecoderOptions) -> str:
    """The rule of `methods.PROMPTS` that --train_prompt stands for."""
    if options.train_prompt == "mask":
        return "mask_random"
    if options.train_prompt == "same":
        return options.prompt
    return options.train_prompt


def _choose_source(
    target: Mask,
    load_inputs: Callable[[], PromptInputs],
    options: DecoderOptions,
    rng: np.random.Generator,
) -> PromptSource:
    """The source of one patch's prompt: its target, or a region of its initial mask."""
    # An empty target, as that of a normal patch, has no points to sample.
    if options.train_prompt == "mask" and target.any():
        return PromptSource(_inputs_from_mask(target), load_mask_prompt(load_inputs, options))

    region = sample_region(load_inputs(), options, rng)
    cam = load_mask_prompt(load_inputs, options, region)
    return PromptSource(region or _inputs_from_mask(target), cam)


def _inputs_from_mask(mask: Mask) -> PromptInputs:
    """A mask (side, side) as prompt inputs: CAM, initial mask and ground truth at once."""
    return PromptInputs(mask.astype(np.float32), mask, lambda: mask)
