"""The full prompt of one SAM decoder pass: points or a box from a rule and, optionally, the CAM."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from epsam.config.sam import PromptOptions
from epsam.segment.sam.prompting.mask_prompt import MaskPrompt, load_mask_prompt
from epsam.segment.sam.prompting.point_sampling import PointPrompt
from epsam.segment.sam.prompting.regions import split_into_regions
from epsam.segment.sam.prompting.rules import PromptInputs, Rngs, collate_inputs, make_prompts


@dataclass(frozen=True)
class SamPrompt:
    """The prompt of one decoder pass.

    points: points or a box (N, 3) in the patch's frame. cam: SAM's dense prompt, (64, 64) in 0..1;
    None where the options ask for none.
    """

    points: PointPrompt
    cam: MaskPrompt | None = None


def make_sam_prompts(
    inputs: Sequence[PromptInputs], options: PromptOptions, rngs: Rngs
) -> list[tuple[SamPrompt, ...]]:
    """The prompts of each patch of a batch, whose masks are united; none where there is nothing to
    prompt for.
    """
    owners: list[int] = []
    regions: list[PromptInputs] = []
    for index, patch_inputs in enumerate(inputs):
        for region in split_into_regions(patch_inputs, options):
            owners.append(index)
            regions.append(region)
    if not regions:
        return [() for _ in inputs]

    # The regions of a patch share its generator: the points of one follow on those of the other.
    region_rngs = [rngs[index] for index in owners]
    points_of_regions = make_prompts(collate_inputs(regions), options, region_rngs)

    prompts: list[list[SamPrompt]] = [[] for _ in inputs]
    for index, region, points in zip(owners, regions, points_of_regions, strict=True):
        if len(points):
            cam = load_mask_prompt(partial(inputs.__getitem__, index), options, region)
            prompts[index].append(SamPrompt(points, cam))
    return [tuple(patch_prompts) for patch_prompts in prompts]


def all_points(prompts: Sequence[SamPrompt]) -> PointPrompt:
    """All points and corners (N, 3) of the prompts, to be counted and plotted."""
    return np.concatenate([np.zeros((0, 3), np.float32), *(prompt.points for prompt in prompts)])
