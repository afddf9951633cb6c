"""Swin-MIL (Qian et al., MICCAI 2022): Swin-T's first three stages with side outputs."""

from pathlib import Path

from epsam.config.classifier import ClassifierOptions
from epsam.core.device import DeviceConfig
from epsam.mil.encoders import SwinEncoder
from epsam.mil.network import MilNetwork, build_network, load_mil_network, save

__all__ = ["IMAGENET_BACKBONE", "build", "load", "save"]

IMAGENET_BACKBONE = SwinEncoder.backbone
FUSION = (0.3, 0.4, 0.3)
"""Swin-MIL: the weights of the stages' maps in the fused one."""


def build(options: ClassifierOptions) -> MilNetwork:
    """See `WeakMethod`. Raises WeightsError without the encoder's weights."""
    return build_network("swin_mil", SwinEncoder, FUSION, options)


def load(path: Path, device_config: DeviceConfig) -> MilNetwork:
    """See `WeakMethod`."""
    return load_mil_network(path, SwinEncoder, device_config)
