"""Training of SAM's decoder on ground truth with a box round the whole patch (paper Table 2)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from epsam.config.decoder import BoxDecoderOptions
from epsam.core.device import select_device
from epsam.data.patches import Patch
from epsam.engine.task import Task
from epsam.segment.sam.box_weights import find_box_checkpoint, pixel_scaling
from epsam.segment.sam.prompting.rules import PromptInputs
from epsam.segment.sam.whole_patch import box_prompt
from epsam.training.decoder import PromptedPatch, build_decoder_task
from epsam.training.round_data import Example
from epsam.training.sam_setup import SamSetup, prepare_embeddings, prepare_sam

NAME = "box_decoder"


def prepare_box_sam(
    options: BoxDecoderOptions, train: Sequence[Patch], val: Sequence[Patch], size: int
) -> SamSetup:
    """SAM with frozen encoder, and the embeddings of patches of size × size px: those of train in
    all transforms that training draws from.
    """
    weights = find_box_checkpoint(options)
    decoder_options = replace(options.as_decoder_options(), sam_checkpoint=str(weights))
    n_embeddings = len(train) * options.embedding_transforms + len(val)
    device_config = select_device(options.device, options.precision)
    sam = prepare_sam(
        decoder_options,
        size,
        n_embeddings,
        decoder_options.n_point,
        device_config,
        pixel_scaling(options),
    )
    prepare_embeddings(sam, train, options.embedding_transforms)
    prepare_embeddings(sam, val, 1)
    return sam


def build_box_decoder_task(
    sam: SamSetup, train: Sequence[Patch], val: Sequence[Patch], options: BoxDecoderOptions
) -> Task:
    """The task of fitting the decoder to the ground truth of `train`."""
    size = sam.segmenter.frame.patch_size
    prompt = box_prompt(size)
    # The box depends on nothing but the patch's size.
    inputs = PromptInputs(np.zeros((size, size), np.float32), np.ones((size, size), np.bool_))
    return build_decoder_task(
        NAME,
        sam.segmenter,
        sam.embeddings,
        [Example(patch, patch.mask) for patch in train],
        [PromptedPatch(patch, ((0, (prompt,)),)) for patch in val],
        lambda patch: inputs,
        options.as_decoder_options(),
    )
