"""The rule of --n_region: a prompt for each of the largest regions of the initial mask.

Without it (0) a patch has one region, its whole initial mask, and a training prompt answers for the
whole target.
"""

from dataclasses import replace

import cv2
import numpy as np

from epsam.config.sam import PromptOptions
from epsam.data.images import Mask
from epsam.segment.sam.prompting.rules import PromptInputs


def split_into_regions(inputs: PromptInputs, options: PromptOptions) -> list[PromptInputs]:
    """The regions of one patch that are prompted for singly; none where its mask has none."""
    return largest_components(inputs, options.n_region)


def sample_region(
    inputs: PromptInputs, options: PromptOptions, rng: np.random.Generator
) -> PromptInputs | None:
    """One of the regions that inference prompts for singly; None if there is none."""
    regions = split_into_regions(inputs, options)
    if not regions:
        return None
    # With a single region nothing is drawn from `rng`.
    index = int(rng.integers(len(regions))) if len(regions) > 1 else 0
    return regions[index]


def restrict_target(target: Mask, region: PromptInputs, options: PromptOptions) -> Mask:
    """The part of a training target (side, side) that the prompt of a region answers for."""
    # Inference unites the masks of all regions, so the prompt of one is only to answer for the
    # tumours that touch it.
    return components_touching(target, region.mask) if options.n_region else target


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


def components_touching(target: Mask, region: Mask) -> Mask:
    """Those connected components of the target that share a pixel with `region`, whole."""
    _, labels = cv2.connectedComponents(target.astype(np.uint8))
    touching = np.unique(labels[region & target])
    return np.asarray(target & np.isin(labels, touching))


def _restrict(inputs: PromptInputs, region: Mask) -> PromptInputs:
    ground_truth = inputs.ground_truth
    return replace(
        inputs,
        mask=region,
        ground_truth=None if ground_truth is None else lambda: ground_truth() & region,
    )
