"""Which prompt SAM is asked with (`--prompt`, paper 3.3.1 and Table 4): a rule is a function named in methods.PROMPTS.

A rule takes what is known of a patch (`Hints`), the options and a generator, and returns a `Prompt`, an empty one
where there is nothing to ask for.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from epsam.data.images import Mask
from epsam.data.views import apply_view
from epsam.errors import DatasetError
from epsam.methods import PROMPTS, function_of
from epsam.options import PromptOptions
from epsam.sam.prompts import (
    BOX_END,
    BOX_START,
    NEGATIVE,
    POSITIVE,
    Prompt,
    labelled,
    mask_points,
    pepm_points,
    sample_points,
)

Weight = npt.NDArray[np.floating]
LOWEST_SHARE = 0.2
"""Ours: negatives lie in this share of the pixels outside the mask, those of the lowest activation."""


@dataclass(frozen=True)
class Hints:
    """What a prompt may be made of: activation in 0..1 and initial mask, (height, width) in the patch's frame.

    `truth` gives the true mask, for upper bounds alone; None where there is none to be had.
    """

    activation: Weight
    mask: Mask
    truth: Callable[[], Mask] | None = None


def viewed(hints: Hints, view: int) -> Hints:
    """The hints of a flipped or turned patch (see data/views.py)."""
    truth = hints.truth
    return Hints(apply_view(hints.activation, view), apply_view(hints.mask, view),
                 None if truth is None else lambda: apply_view(truth(), view))


def make_prompt(hints: Hints, options: PromptOptions, rng: np.random.Generator) -> Prompt:
    """The prompt of `options.prompt` with `options.n_negative` negative points; (0, 3) if there is nothing to ask for.

    Raises DatasetError if the rule needs a true mask that is not there.
    """
    rule: Callable[[Hints, PromptOptions, np.random.Generator], Prompt]
    rule = function_of(PROMPTS, "--prompt", options.prompt)
    wanted = rule(hints, options, rng)
    if not options.n_negative or not len(wanted):
        return wanted
    return np.concatenate([wanted, labelled(lowest_points(hints, options.n_negative, rng), NEGATIVE)])


def pepm(hints: Hints, options: PromptOptions, rng: np.random.Generator) -> Prompt:
    """Points inside the initial mask, drawn by activation or by its entropy (paper Eq. 4, methods D5)."""
    weight = hints.activation if options.pepm_weight == "activation" else entropy(hints.activation)
    return labelled(pepm_points(weight, hints.mask, options.n_point, rng), POSITIVE)


def mask_random(hints: Hints, options: PromptOptions, rng: np.random.Generator) -> Prompt:
    """Points drawn uniformly from the initial mask (paper Table 4, "w/o PEPM")."""
    return labelled(mask_points(hints.mask, options.n_point, rng), POSITIVE)


def image_random(hints: Hints, options: PromptOptions, rng: np.random.Generator) -> Prompt:
    """Points drawn uniformly from the whole patch, all of them called positive (paper Table 4, "random")."""
    return labelled(mask_points(np.ones_like(hints.mask), options.n_point, rng), POSITIVE)


def truth_random(hints: Hints, options: PromptOptions, rng: np.random.Generator) -> Prompt:
    """Points drawn uniformly from the true mask (paper Table 4, "GT random"): an upper bound, no method.

    Raises DatasetError if there is no truth, as for an image to be segmented.
    """
    if hints.truth is None:
        raise DatasetError("--prompt truth_random: the decoder was made with points from true masks, which are not "
                           "given here; use a run with another --prompt")
    return labelled(mask_points(hints.truth(), options.n_point, rng), POSITIVE)


def box(hints: Hints, options: PromptOptions, rng: np.random.Generator) -> Prompt:
    """The box around the initial mask, edges included, and no point (ours)."""
    if not hints.mask.any():
        return np.zeros((0, 3), dtype=np.float32)
    rows, columns = np.nonzero(hints.mask)
    return np.array([[columns.min(), rows.min(), BOX_START], [columns.max(), rows.max(), BOX_END]], dtype=np.float32)


def entropy(activation: Weight) -> Weight:
    """Binary entropy in nats of an activation read as a probability: largest at 0.5, 0 at 0 and 1."""
    share = np.clip(np.asarray(activation, dtype=np.float64), 0, 1)
    inner = (share > 0) & (share < 1)
    found = np.zeros_like(share)
    found[inner] = -(share[inner] * np.log(share[inner]) + (1 - share[inner]) * np.log1p(-share[inner]))
    return found


def lowest_points(hints: Hints, count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Up to `count` points (N, 2) outside the mask where the activation is lowest; none if the mask is everything."""
    outside = ~hints.mask
    if not outside.any():
        return np.zeros((0, 2), dtype=np.float32)
    limit = np.quantile(hints.activation[outside], LOWEST_SHARE)
    return sample_points((outside & (hints.activation <= limit)).astype(np.float64), count, rng)
