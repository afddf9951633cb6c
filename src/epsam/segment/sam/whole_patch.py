"""SAM with a box round the whole patch as its only prompt: it needs nothing but the image."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from epsam.config.sam import PromptOptions, SamOptions
from epsam.core.checkpoints import load_plain, save_plain
from epsam.core.device import DeviceConfig
from epsam.core.files import sha256_of
from epsam.segment.sam.decoder_weights import check_same_sam, load_decoder, state_of_decoder
from epsam.segment.sam.models import freeze, load_sam
from epsam.segment.sam.prompting.rules import PromptInputs, patch_box
from epsam.segment.sam.prompting.sam_prompt import SamPrompt
from epsam.segment.sam.segmenter import PromptedEmbeddings, SamSegmenter
from epsam.segment.sam.specs import SAM_PIXELS, find_checkpoint, find_medsam_checkpoint


class WholePatchSam:
    """A trained SAM that predicts from images, as rows of `methods.SEGMENTERS` do."""

    def __init__(self, segmenter: SamSegmenter) -> None:
        self._segmenter = segmenter
        self._prompt = box_prompt(segmenter.frame.patch_size)

    def eval(self) -> "WholePatchSam":
        """Set the networks to evaluation mode."""
        self._segmenter.sam.eval()
        return self

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Probabilities (B, 1, side, side) of RGB images (B, 3, side, side) in 0..1."""
        # SAM's frame takes bytes, which the images were read as.
        pixels = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        embeddings = self._segmenter.encode(list(pixels))
        return self._segmenter.predict(
            PromptedEmbeddings(embeddings, [self._prompt] * len(embeddings))
        )


def box_prompt(patch_size: int) -> SamPrompt:
    """The box round a patch of patch_size × patch_size px."""
    inputs = PromptInputs(np.zeros((1, 1, 1)), np.ones((1, patch_size, patch_size), np.bool_))
    (corners,) = patch_box(inputs, PromptOptions(), [])
    return SamPrompt(corners)


def save(path: Path, model: SamSegmenter, extra: Mapping[str, Any]) -> None:
    """Write the decoder's weights with the plain data of `extra`, whole or not at all."""
    save_plain(path, {**extra, "model": state_of_decoder(model.sam)})


def load(
    path: Path, device_config: DeviceConfig, options: SamOptions, folder: Path
) -> WholePatchSam:
    """The trained SAM of a decoder's checkpoint on its device.

    options: --sam_checkpoint names SAM's weights; else they are in `folder`. Raises WeightsError if
    they are missing or others than in training.
    """
    content = load_plain(path)
    metadata = content["made_with"]
    name = metadata["sam_model_type"]
    if content["segmenter"] == "medsam_box":
        weights = find_medsam_checkpoint(options.sam_checkpoint, folder)
    else:
        weights = find_checkpoint(name, options.sam_checkpoint, folder)
    check_same_sam(path, metadata, name, weights, sha256_of(weights))
    sam = freeze(load_sam(name, weights))
    load_decoder(path, sam)
    # Checkpoints of the first version with this segmenter do not hold the scaling.
    pixels = metadata.get("pixels", SAM_PIXELS)
    segmenter = SamSegmenter(sam, metadata["patch_size"], 1, device_config, options.compile, pixels)
    return WholePatchSam(segmenter).eval()
