"""The rule of --mask_prompt: the CAM as SAM's dense prompt, beside points or a box."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from epsam.config.sam import PromptOptions
from epsam.segment.sam.prompting.rules import PromptInputs

MASK_PROMPT_SIDE = 64
"""This project: CAMs are coarser than that, so that nothing is lost, and a prompt takes 8 kB."""

MaskPrompt = npt.NDArray[np.float16]


def load_mask_prompt(
    load_inputs: Callable[[], PromptInputs],
    options: PromptOptions,
    region: PromptInputs | None = None,
) -> MaskPrompt | None:
    """The dense prompt of one patch, or of one region of it; None without --mask_prompt.

    load_inputs: the inputs of the patch, which are loaded only if they are needed.
    """
    if not options.mask_prompt:
        return None
    inputs = load_inputs()
    return make_mask_prompt(region or inputs, inputs)


def make_mask_prompt(region: PromptInputs, patch_inputs: PromptInputs) -> MaskPrompt:
    """The patch's CAM (64, 64) without that of its other regions."""
    other_regions = patch_inputs.mask & ~region.mask
    cam = np.where(other_regions, 0.0, patch_inputs.cam).astype(np.float32)
    # Averaged over areas: linear interpolation would skip pixels when it shrinks the map.
    size = (MASK_PROMPT_SIDE, MASK_PROMPT_SIDE)
    small_cam = cv2.resize(cam, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small_cam, dtype=np.float16)
