"""U-Net over a ResNet (Ronneberger et al. 2015; paper Table 2) as a segmenter."""

from pathlib import Path

from segmentation_models_pytorch import Unet

from epsam.config.segmenter import SegmenterOptions
from epsam.core.device import DeviceConfig
from epsam.segment.encoder_decoder import (
    EncoderDecoder,
    build_network,
    load_encoder_decoder,
    save,
)

__all__ = ["build", "load", "save"]


def build(options: SegmenterOptions) -> EncoderDecoder:
    """See `SegmenterMethod`. Raises WeightsError without the encoder's weights."""
    return build_network("unet", Unet, options)


def load(path: Path, device_config: DeviceConfig) -> EncoderDecoder:
    """See `SegmenterMethod`."""
    return load_encoder_decoder(path, Unet, device_config)
