"""SA-MIL (Li et al., MedIA 2023): DWS-MIL with criss-cross attention in each block."""

from functools import partial
from pathlib import Path

from epsam.config.classifier import ClassifierOptions
from epsam.core.device import DeviceConfig
from epsam.mil.encoders import VggEncoder
from epsam.mil.network import MilNetwork, build_network, load_mil_network, save

__all__ = ["IMAGENET_BACKBONE", "build", "load", "save"]

IMAGENET_BACKBONE = VggEncoder.backbone
FUSION = (0.2, 0.35, 0.45)
"""SA-MIL: the weights of the stages' maps in the fused one."""


def build(options: ClassifierOptions) -> MilNetwork:
    """See `WeakMethod`. Raises WeightsError without the encoder's weights."""
    return build_network("sa_mil", partial(VggEncoder, has_attention=True), FUSION, options)


def load(path: Path, device_config: DeviceConfig) -> MilNetwork:
    """See `WeakMethod`."""
    return load_mil_network(path, partial(VggEncoder, has_attention=True), device_config)
