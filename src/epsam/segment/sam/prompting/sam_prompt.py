"""The full prompt of one SAM decoder pass: points or a box from a rule and, optionally, the CAM.

A patch has one prompt for its whole initial mask or, with --n_region, one for each region of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from epsam.config.sam import PromptOptions
from epsam.data.images import Mask
from epsam.segment.sam.prompting.point_sampling import PointPrompt
from epsam.segment.sam.prompting.rules import PromptInputs, Rngs, collate_inputs, make_prompts

MASK_PROMPT_SIDE = 64
"""This project: CAMs are coarser than that, so that nothing is lost, and a prompt takes 8 kB."""

MaskPrompt = npt.NDArray[np.float16]


@dataclass(frozen=True)
class SamPrompt:
    """The prompt of one decoder pass.

    points: points or a box (N, 3) in the patch's frame. cam: with --mask_prompt, the CAM (64, 64)
    in 0..1, SAM's dense prompt.
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
        for region in largest_components(patch_inputs, options.n_region):
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
            cam = make_mask_prompt(region, inputs[index]) if options.mask_prompt else None
            prompts[index].append(SamPrompt(points, cam))
    return [tuple(patch_prompts) for patch_prompts in prompts]


def largest_components(inputs: PromptInputs, count: int) -> list[PromptInputs]:
    """The `count` largest connected components (8-neighbourhood) of one patch's initial mask,
    largest first.

    Each has the CAM of the patch and the component's part of mask and ground truth. count 0: the
    inputs as they are.
    """
    if not count:
        return [inputs]
    number, labels = cv2.connectedComponents(inputs.mask.astype(np.uint8))
    # Label 0 is the background.
    areas = np.bincount(labels.ravel(), minlength=number)[1:]
    # Stable, so that components of equal size always have the same order.
    largest = np.argsort(-areas, kind="stable")[:count] + 1
    return [_restrict(inputs, np.asarray(labels == label)) for label in largest]


def _restrict(inputs: PromptInputs, region: Mask) -> PromptInputs:
    ground_truth = inputs.ground_truth
    return replace(
        inputs,
        mask=region,
        ground_truth=None if ground_truth is None else lambda: ground_truth() & region,
    )


def make_mask_prompt(region: PromptInputs, patch_inputs: PromptInputs) -> MaskPrompt:
    """The patch's CAM (64, 64) without that of its other regions."""
    other_regions = patch_inputs.mask & ~region.mask
    cam = np.where(other_regions, 0.0, patch_inputs.cam).astype(np.float32)
    # Averaged over areas: linear interpolation would skip pixels when it shrinks the map.
    size = (MASK_PROMPT_SIDE, MASK_PROMPT_SIDE)
    small_cam = cv2.resize(cam, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small_cam, dtype=np.float16)


def components_touching(target: Mask, region: Mask) -> Mask:
    """Those connected components of the target that share a pixel with `region`, whole."""
    _, labels = cv2.connectedComponents(target.astype(np.uint8))
    touching = np.unique(labels[region & target])
    return np.asarray(target & np.isin(labels, touching))


def all_points(prompts: Sequence[SamPrompt]) -> PointPrompt:
    """All points and corners (N, 3) of the prompts, to be counted and plotted."""
    return np.concatenate([np.zeros((0, 3), np.float32), *(prompt.points for prompt in prompts)])
