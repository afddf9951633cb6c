"""The rules of `--prompt` (paper 3.3.1 and Table 4): from a CAM and an initial mask to a point
prompt.

A rule is a function named in `methods.PROMPTS`. It takes the `PromptInputs` of a batch of patches,
the options and a generator for each patch, and returns a `PointPrompt` for each patch: an empty one
where there is nothing to prompt for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from epsam.config.sam import PromptOptions
from epsam.core.errors import DatasetError
from epsam.data.d4 import apply_d4
from epsam.data.images import Mask
from epsam.methods import PROMPTS, load_function
from epsam.segment.sam.frames import Points
from epsam.segment.sam.prompting.point_sampling import (
    BOX_END,
    BOX_START,
    NEGATIVE,
    POSITIVE,
    PointPrompt,
    label_points,
    sample_points,
)

Weight = npt.NDArray[np.floating]
Rngs = Sequence[np.random.Generator]
ROUNDING = 1e-6
"""This project: bilinear weights in float32 sum to 1 only within this tolerance."""
NEGATIVE_QUANTILE = 0.2
"""This project: negatives are sampled from this fraction of the pixels outside the mask, those
where the CAM is lowest.
"""


@dataclass(frozen=True)
class PromptInputs:
    """What a prompt is made from, in the patch's frame: (height, width) for one patch, (B, height,
    width) for a batch.

    cam: class activation map in 0..1. mask: initial mask. ground_truth: loads the annotated mask,
    which only upper bounds use; None where there is none.
    """

    cam: Weight
    mask: Mask
    ground_truth: Callable[[], Mask] | None = None


def transform_inputs(inputs: PromptInputs, transform: int) -> PromptInputs:
    """The inputs of one patch under transform 0 … 7 of D4 (see data/d4.py)."""
    ground_truth = inputs.ground_truth
    return PromptInputs(
        apply_d4(inputs.cam, transform),
        apply_d4(inputs.mask, transform),
        None if ground_truth is None else lambda: apply_d4(ground_truth(), transform),
    )


def collate_inputs(inputs: Sequence[PromptInputs]) -> PromptInputs:
    """The inputs of patches of one size as one batch; it has a ground truth if all of them have."""
    loaders = []
    for patch_inputs in inputs:
        if patch_inputs.ground_truth:
            loaders.append(patch_inputs.ground_truth)

    # Masks of the ground truth are read only by the rule that needs them.
    return PromptInputs(
        np.stack([patch_inputs.cam for patch_inputs in inputs]),
        np.stack([patch_inputs.mask for patch_inputs in inputs]),
        (lambda: np.stack([load() for load in loaders])) if len(loaders) == len(inputs) else None,
    )


def make_prompts(inputs: PromptInputs, options: PromptOptions, rngs: Rngs) -> list[PointPrompt]:
    """The point prompts of a batch by `options.prompt`, with `options.n_negative` negative points
    each; (0, 3) where there is nothing to prompt for.

    Raises DatasetError if the rule needs a ground truth and there is none.
    """
    rule: Callable[[PromptInputs, PromptOptions, Rngs], list[PointPrompt]]
    rule = load_function(PROMPTS, "--prompt", options.prompt)
    prompts = rule(inputs, options, rngs)
    if not options.n_negative:
        return prompts

    has_prompt = np.array([len(prompt) > 0 for prompt in prompts])
    negatives = sample_negatives(inputs, has_prompt, options.n_negative, rngs)
    return [
        np.concatenate([prompt, label_points(points, NEGATIVE)])
        for prompt, points in zip(prompts, negatives, strict=True)
    ]


def pepm(inputs: PromptInputs, options: PromptOptions, rngs: Rngs) -> list[PointPrompt]:
    """Points inside the initial mask with probability ∝ CAM (paper Eq. 4), or ∝ the CAM's entropy.

    Outside of the mask no point is sampled (docs/deviations.md, "Support of PEPM"). The CAM is
    scaled from its minimum to its maximum first ("Weights of PEPM"); a constant one gives no point.
    """
    scaled = scale_to_range(inputs.cam)
    weight = scaled if options.pepm_weight == "cam" else binary_entropy(scaled)
    in_mask = np.where(inputs.mask, weight, np.zeros((), weight.dtype))
    return _sample_positives(in_mask, options, rngs)


def mask_random(inputs: PromptInputs, options: PromptOptions, rngs: Rngs) -> list[PointPrompt]:
    """Points sampled uniformly from the initial mask (paper Table 4, "w/o PEPM").

    Training prompts with this rule, too (docs/deviations.md, "Training prompts").
    """
    return _sample_positives(inputs.mask, options, rngs)


def image_random(inputs: PromptInputs, options: PromptOptions, rngs: Rngs) -> list[PointPrompt]:
    """Points sampled uniformly from the whole patch, all labelled positive (paper Table 4,
    "random").
    """
    return _sample_positives(np.ones_like(inputs.mask), options, rngs)


def ground_truth_random(
    inputs: PromptInputs, options: PromptOptions, rngs: Rngs
) -> list[PointPrompt]:
    """Points sampled uniformly from the ground truth (paper Table 4, "GT random"): an upper bound,
    no method.

    Raises DatasetError if there is no ground truth, as for an image to be segmented.
    """
    if inputs.ground_truth is None:
        raise DatasetError(
            "--prompt ground_truth_random: the decoder was made with points from true masks, which "
            "are not given here; use a run with another --prompt"
        )
    return _sample_positives(inputs.ground_truth(), options, rngs)


def box(inputs: PromptInputs, options: PromptOptions, rngs: Rngs) -> list[PointPrompt]:
    """The bounding box of the initial mask, edges included, and no point (this project)."""
    left, right = _first_and_last(np.asarray(inputs.mask.any(axis=1)))
    top, bottom = _first_and_last(np.asarray(inputs.mask.any(axis=2)))
    upper_left = [left, top, np.full_like(left, BOX_START)]
    lower_right = [right, bottom, np.full_like(left, BOX_END)]
    corners = np.array([upper_left, lower_right]).transpose(2, 0, 1).astype(np.float32)

    # An empty mask has no box: its prompt has no rows.
    rows = 2 * np.asarray(inputs.mask.any(axis=(1, 2))).astype(int)
    return [prompt[:number] for prompt, number in zip(corners, rows.tolist(), strict=True)]


def patch_box(inputs: PromptInputs, options: PromptOptions, rngs: Rngs) -> list[PointPrompt]:
    """A box round the whole patch, whatever is in it (paper Table 2: SAM's decoder alone)."""
    _, height, width = inputs.mask.shape
    corners = np.array([[0, 0, BOX_START], [width, height, BOX_END]], dtype=np.float32)
    return [corners.copy() for _ in inputs.mask]


def box_pepm(inputs: PromptInputs, options: PromptOptions, rngs: Rngs) -> list[PointPrompt]:
    """The bounding box of the initial mask and PEPM's points in it (this project)."""
    boxes = box(inputs, options, rngs)
    points = pepm(inputs, options, rngs)
    return [np.concatenate(box_and_points) for box_and_points in zip(boxes, points, strict=True)]


def scale_to_range(cams: Weight) -> Weight:
    """CAMs (B, height, width), each scaled so that its minimum is 0 and its maximum 1.

    A constant CAM has no preferred place, and becomes 0.
    """
    lowest = cams.min(axis=(1, 2), keepdims=True)
    highest = cams.max(axis=(1, 2), keepdims=True)
    # Enlarging a constant map leaves differences of rounding, which are no preference either.
    is_constant = highest - lowest <= ROUNDING * highest
    ranges = np.where(is_constant, np.ones((), cams.dtype), highest - lowest)
    return np.where(is_constant, np.zeros((), cams.dtype), (cams - lowest) / ranges)


def binary_entropy(cam: Weight) -> Weight:
    """Binary entropy in nats of a CAM read as a probability: largest at 0.5, 0 at 0 and 1."""
    probability = np.clip(np.asarray(cam, dtype=np.float64), 0, 1)
    entropy = np.zeros_like(probability)
    # The limit at 0 and 1 is 0, but the logarithm is infinite there.
    inner = (probability > 0) & (probability < 1)
    p = probability[inner]
    entropy[inner] = -(p * np.log(p) + (1 - p) * np.log1p(-p))
    return entropy


def sample_negatives(
    inputs: PromptInputs, has_prompt: Mask, count: int, rngs: Rngs
) -> list[Points]:
    """Up to `count` points (N, 2) outside each mask where the CAM is lowest.

    None if the mask covers the patch, or where `has_prompt` (B,) is False.
    """
    outside = ~inputs.mask & has_prompt[:, None, None]
    cam_outside = np.where(outside, inputs.cam, np.nan).reshape(len(outside), -1)
    # nanquantile warns of a row that is all nan; its limit is not used, since nothing is outside.
    cam_outside[~outside.any(axis=(1, 2))] = 0
    limits = np.nanquantile(cam_outside, NEGATIVE_QUANTILE, axis=1)
    return sample_points(outside & (inputs.cam <= limits[:, None, None]), count, rngs)


def _sample_positives(
    weights: Weight | Mask, options: PromptOptions, rngs: Rngs
) -> list[PointPrompt]:
    samples = sample_points(weights, options.n_point, rngs)
    return [label_points(points, POSITIVE) for points in samples]


def _first_and_last(occupied: Mask) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The indices of the first and the last True in each row of (B, n)."""
    first = occupied.argmax(axis=1)
    last = occupied.shape[1] - 1 - occupied[:, ::-1].argmax(axis=1)
    return first, last
