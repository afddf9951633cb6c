"""What SAM's decoder is asked about a patch: one query for the whole initial mask, or one for each
of its regions.
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
"""Ours: activation maps are coarser than that, so that nothing is lost, and a query takes 8 kB."""

MaskPrompt = npt.NDArray[np.float16]


@dataclass(frozen=True)
class SamPrompt:
    """Points or a box and, with --mask_prompt, the activation (64, 64) in 0..1; one pass of the
    decoder.
    """

    points: PointPrompt
    cam: MaskPrompt | None = None


def make_sam_prompts(
    hints: Sequence[PromptInputs], options: PromptOptions, rngs: Rngs
) -> list[tuple[SamPrompt, ...]]:
    """The queries about each patch of a batch, whose answers are united; none where there is
    nothing to ask for.
    """
    found: list[list[SamPrompt]] = [[] for _ in hints]
    parts = [
        (index, part)
        for index, whole in enumerate(hints)
        for part in largest_components(whole, options.n_region)
    ]
    if parts:
        prompts = make_prompts(
            collate_inputs([part for _, part in parts]),
            options,
            [rngs[index] for index, _ in parts],
        )
        for (index, part), prompt in zip(parts, prompts, strict=True):
            if len(prompt):
                activation = mask_prompt(part, hints[index]) if options.mask_prompt else None
                found[index].append(SamPrompt(prompt, activation))
    return [tuple(queries) for queries in found]


def largest_components(hints: PromptInputs, count: int) -> list[PromptInputs]:
    """The `count` largest regions (pixels that touch, corners included) of one patch's initial
    mask, largest first.

    Each has the activation of the patch and the region's part of mask and truth; 0: the hints as
    they are.
    """
    if not count:
        return [hints]
    number, regions = cv2.connectedComponents(hints.mask.astype(np.uint8))
    areas = np.bincount(regions.ravel(), minlength=number)[1:]
    largest = np.argsort(-areas, kind="stable")[:count] + 1
    return [_part(hints, np.asarray(regions == region)) for region in largest]


def _part(hints: PromptInputs, region: Mask) -> PromptInputs:
    truth = hints.ground_truth
    return replace(
        hints, mask=region, ground_truth=None if truth is None else lambda: truth() & region
    )


def mask_prompt(part: PromptInputs, whole: PromptInputs) -> MaskPrompt:
    """The activation without that of the patch's other regions."""
    activation = np.where(whole.mask & ~part.mask, 0.0, whole.cam).astype(np.float32)
    small = cv2.resize(
        activation, (MASK_PROMPT_SIDE, MASK_PROMPT_SIDE), interpolation=cv2.INTER_AREA
    )
    return np.asarray(small, dtype=np.float16)


def components_touching(target: Mask, region: Mask) -> Mask:
    """Those regions of the target that share a pixel with `region`, whole."""
    _, regions = cv2.connectedComponents(target.astype(np.uint8))
    return np.asarray(target & np.isin(regions, np.unique(regions[region & target])))


def all_points(queries: Sequence[SamPrompt]) -> PointPrompt:
    """All points and corners of the queries, to be counted and drawn."""
    return np.concatenate([np.zeros((0, 3), np.float32), *(query.points for query in queries)])
