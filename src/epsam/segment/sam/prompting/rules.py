"""Which prompt SAM is asked with (`--prompt`, paper 3.3.1 and Table 4): a rule is a function named
in methods.PROMPTS.

A rule takes what is known of a batch of patches (`Hints`), the options and a generator for each
patch, and returns a `Prompt` for each, an empty one where there is nothing to ask for.
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
NEGATIVE_QUANTILE = 0.2
"""Ours: negatives lie in this share of the pixels outside the mask, those of the lowest
activation.
"""


@dataclass(frozen=True)
class PromptInputs:
    """What a prompt may be made of: activation in 0..1 and initial mask in the patch's frame,
    (height, width) for one patch, (B, height, width) for those of a batch.

    `truth` gives the true masks, for upper bounds alone; None where there are none to be had.
    """

    cam: Weight
    mask: Mask
    ground_truth: Callable[[], Mask] | None = None


def transform_inputs(hints: PromptInputs, view: int) -> PromptInputs:
    """The hints of one patch, flipped or turned (see data/views.py)."""
    truth = hints.ground_truth
    return PromptInputs(
        apply_d4(hints.cam, view),
        apply_d4(hints.mask, view),
        None if truth is None else lambda: apply_d4(truth(), view),
    )


def collate_inputs(hints: Sequence[PromptInputs]) -> PromptInputs:
    """The hints of patches of one size as those of a batch; it has a truth if all of them have."""
    truths = [truth for one in hints if (truth := one.ground_truth)]
    return PromptInputs(
        np.stack([one.cam for one in hints]),
        np.stack([one.mask for one in hints]),
        (lambda: np.stack([truth() for truth in truths])) if len(truths) == len(hints) else None,
    )


def make_prompts(hints: PromptInputs, options: PromptOptions, rngs: Rngs) -> list[PointPrompt]:
    """The prompts of a batch by `options.prompt`, each with `options.n_negative` negative points;
    (0, 3) where there is nothing to ask for.

    Raises DatasetError if the rule needs true masks that are not there.
    """
    rule: Callable[[PromptInputs, PromptOptions, Rngs], list[PointPrompt]]
    rule = load_function(PROMPTS, "--prompt", options.prompt)
    wanted = rule(hints, options, rngs)
    if not options.n_negative:
        return wanted
    asked = np.array([len(prompt) > 0 for prompt in wanted])
    negatives = lowest_points(hints, asked, options.n_negative, rngs)
    return [
        np.concatenate([prompt, label_points(points, NEGATIVE)])
        for prompt, points in zip(wanted, negatives, strict=True)
    ]


def pepm(hints: PromptInputs, options: PromptOptions, rngs: Rngs) -> list[PointPrompt]:
    """Points inside the initial mask with probability ∝ activation (paper Eq. 4, methods D5), or ∝
    its entropy.
    """
    weight = hints.cam if options.pepm_weight == "cam" else entropy(hints.cam)
    return _positive(np.where(hints.mask, weight, np.zeros((), weight.dtype)), options, rngs)


def mask_random(hints: PromptInputs, options: PromptOptions, rngs: Rngs) -> list[PointPrompt]:
    """Points drawn uniformly from the initial mask (paper Table 4, "w/o PEPM"), as training uses
    them (methods D2).
    """
    return _positive(hints.mask, options, rngs)


def image_random(hints: PromptInputs, options: PromptOptions, rngs: Rngs) -> list[PointPrompt]:
    """Points drawn uniformly from the whole patch, all of them called positive (paper Table 4,
    "random").
    """
    return _positive(np.ones_like(hints.mask), options, rngs)


def truth_random(hints: PromptInputs, options: PromptOptions, rngs: Rngs) -> list[PointPrompt]:
    """Points drawn uniformly from the true mask (paper Table 4, "GT random"): an upper bound, no
    method.

    Raises DatasetError if there is no truth, as for an image to be segmented.
    """
    if hints.ground_truth is None:
        raise DatasetError(
            "--prompt ground_truth_random: the decoder was made with points from true masks, which are not "
            "given here; use a run with another --prompt"
        )
    return _positive(hints.ground_truth(), options, rngs)


def box(hints: PromptInputs, options: PromptOptions, rngs: Rngs) -> list[PointPrompt]:
    """The box around the initial mask, edges included, and no point (ours)."""
    (left, right), (top, bottom) = (
        _extent(np.asarray(hints.mask.any(axis=axis))) for axis in (1, 2)
    )
    corners = np.array(
        [[left, top, np.full_like(left, BOX_START)], [right, bottom, np.full_like(left, BOX_END)]]
    )
    rows = 2 * np.asarray(hints.mask.any(axis=(1, 2))).astype(int)
    return [
        prompt[:number]
        for prompt, number in zip(
            corners.transpose(2, 0, 1).astype(np.float32), rows.tolist(), strict=True
        )
    ]


def box_pepm(hints: PromptInputs, options: PromptOptions, rngs: Rngs) -> list[PointPrompt]:
    """The box around the initial mask and PEPM's points in it (ours)."""
    both = zip(box(hints, options, rngs), pepm(hints, options, rngs), strict=True)
    return [np.concatenate(one) for one in both]


def _positive(weights: Weight | Mask, options: PromptOptions, rngs: Rngs) -> list[PointPrompt]:
    return [
        label_points(points, POSITIVE) for points in sample_points(weights, options.n_point, rngs)
    ]


def _extent(filled: Mask) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The first and the last True of each line (B, n)."""
    return filled.argmax(axis=1), filled.shape[1] - 1 - filled[:, ::-1].argmax(axis=1)


def entropy(activation: Weight) -> Weight:
    """Binary entropy in nats of an activation read as a probability: largest at 0.5, 0 at 0 and
    1.
    """
    share = np.clip(np.asarray(activation, dtype=np.float64), 0, 1)
    inner = (share > 0) & (share < 1)
    found = np.zeros_like(share)
    found[inner] = -(
        share[inner] * np.log(share[inner]) + (1 - share[inner]) * np.log1p(-share[inner])
    )
    return found


def lowest_points(hints: PromptInputs, asked: Mask, count: int, rngs: Rngs) -> list[Points]:
    """Up to `count` points (N, 2) outside each mask where the activation is lowest; none if the
    mask is everything, or where `asked` (B,) is False.
    """
    outside = ~hints.mask & asked[:, None, None]
    lines = np.where(outside, hints.cam, np.nan).reshape(len(outside), -1)
    lines[~outside.any(axis=(1, 2))] = 0
    limits = np.nanquantile(lines, NEGATIVE_QUANTILE, axis=1)
    return sample_points(outside & (hints.cam <= limits[:, None, None]), count, rngs)
