"""The segmenter of WSSS-Tissue as a row of `methods.SEGMENTERS`: a DeepLabV3+ that learns from
masks of three layers, behind the gate of the classifier that made them.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from segmentation_models_pytorch import DeepLabV3Plus
from torch import Tensor, nn

from epsam.config.segmenter import SegmenterOptions
from epsam.core.checkpoints import load_network, load_plain, save_network
from epsam.core.device import DeviceConfig, select_device
from epsam.core.errors import WeightsError
from epsam.paths import RunPaths
from epsam.segment.encoder_decoder import (
    ENCODER_KEY,
    EncoderDecoder,
    build_network,
    read_encoder_name,
)
from epsam.wsss_tissue.classifier import TissueClassifier
from epsam.wsss_tissue.gate import gate_classes
from epsam.wsss_tissue.method import SPEC_KEY, read_tissue_spec
from epsam.wsss_tissue.method import load as load_classifier
from epsam.wsss_tissue.three_targets import weighted_cross_entropy
from epsam.wsss_tissue.trunks import RESNET38

NAME = "wsss_tissue"


class TissueSegmenter(nn.Module):
    """A `Segmenter` of RGB images (B, 3, side, side) in 0..1; its classifier is not trained."""

    def __init__(self, network: EncoderDecoder, classifier: TissueClassifier) -> None:
        super().__init__()
        self.network = network
        self.classifier = classifier.requires_grad_(False).eval()

    @property
    def row_name(self) -> str:
        """The name in tables: it says if the classifier is not the published one."""
        trunk = self.classifier.tissue_spec.trunk
        return NAME if trunk == RESNET38 else f"{NAME} ({trunk})"

    def train(self, mode: bool = True) -> "TissueSegmenter":
        """Set the mode of the network; the classifier stays as it is."""
        super().train(mode)
        self.classifier.eval()
        return self

    def loss(self, images: Tensor, masks: Tensor) -> Tensor:
        """The loss (B,) on masks (B, 3, side, side), those of the layers, or (B, 1, side, side)."""
        return weighted_cross_entropy(self.network(images)[:, 0].float(), masks.float())

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Probabilities (B, 1, side, side)."""
        probabilities = self.network.predict(images)[:, 0].float()
        class_logits = self.classifier.class_logits(self.classifier.layers(images))
        return gate_classes(probabilities, class_logits.float())[:, None]


def build(options: SegmenterOptions) -> TissueSegmenter:
    """See `SegmenterMethod`; the classifier is the run's.

    Raises WeightsError if it is missing or another one, or without the encoder's weights.
    """
    path = RunPaths.of(options).classifier
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such file; run train_classifier.py --weak_model {NAME} first"
        )
    classifier = load_classifier(path, select_device("cpu", "fp32"))
    return TissueSegmenter(build_network(NAME, DeepLabV3Plus, options), classifier)


def save(path: Path, model: TissueSegmenter, extra: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    fields = {
        ENCODER_KEY: model.network.encoder_name,
        SPEC_KEY: asdict(model.classifier.tissue_spec),
    }
    save_network(path, model, {**extra, **fields})


def load(path: Path, device_config: DeviceConfig) -> TissueSegmenter:
    """See `SegmenterMethod`."""
    content = load_plain(path)
    network = EncoderDecoder(DeepLabV3Plus, read_encoder_name(path, content))
    model = TissueSegmenter(network, TissueClassifier(read_tissue_spec(path, content)))
    load_network(path, model)
    return model.to(device_config.device).eval()
