"""Weights and pixels of the SAM that a box round the patch prompts: SAM's, or MedSAM's."""

from pathlib import Path

from epsam.config.decoder import BoxDecoderOptions
from epsam.segment.sam.specs import (
    MINMAX_PIXELS,
    SAM_PIXELS,
    PixelScaling,
    find_checkpoint,
    find_medsam_checkpoint,
)


def find_box_checkpoint(options: BoxDecoderOptions) -> Path:
    """The file of the weights that training starts from. Raises WeightsError without it."""
    folder = Path(options.checkpoint_root)
    if options.is_medsam:
        return find_medsam_checkpoint(options.sam_checkpoint, folder)
    return find_checkpoint(options.sam_model_type, options.sam_checkpoint, folder)


def pixel_scaling(options: BoxDecoderOptions) -> PixelScaling:
    """How the encoder's pixels are scaled."""
    is_published = options.is_medsam and options.medsam_pixels == "published"
    return MINMAX_PIXELS if is_published else SAM_PIXELS
