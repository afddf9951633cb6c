"""The classifier: a ResNet with the explicit visual prompt (EVP) and attention-based dropout (ADL),
or without either (paper 3.2.1, Table 2).
"""

import torch
from torch import Tensor, nn
from torchvision import models

from epsam.core.errors import TrainingError
from epsam.weak.adl import AttentionDropout
from epsam.weak.cam_classifier import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CamClassifier,
    NetworkSpec,
)
from epsam.weak.frequency import extract_high_frequencies
from epsam.weak.losses import binary_cross_entropy
from epsam.weak.subclasses import build_subclass_head, subclass_loss

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "AdlResNet",
    "NetworkSpec",
    "block_names",
    "build_classifier",
]

_BLOCKS_PER_LAYER = {"resnet50": (3, 4, 6, 3), "resnet18": (2, 2, 2, 2)}


class AdlResNet(CamClassifier):
    """Tumour classifier for RGB images (B, 3, H, W) in 0..1; make it with `build_classifier`.

    State-dict keys are torchvision's, except that an ADL takes up an index in its layer: layer3.0
    is the first block, layer3.1 the ADL after it, layer3.2 the second block. The published code
    numbers them in the same way.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        trunk = getattr(models, spec.backbone)(weights=None, num_classes=1)
        channels = 4 if spec.evp_fuse == "concat" else 3
        self.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1, self.relu, self.maxpool = trunk.bn1, trunk.relu, trunk.maxpool
        self.layer1 = _insert_adl(trunk.layer1, 1, spec)
        self.layer2 = _insert_adl(trunk.layer2, 2, spec)
        self.layer3 = _insert_adl(trunk.layer3, 3, spec)
        # Stride 1 makes the maps of layer 4 twice as fine, as in the published code.
        self.layer4 = _insert_adl(_remove_stride(trunk.layer4), 4, spec)
        self.avgpool, self.fc = trunk.avgpool, trunk.fc
        self.subclass_head: nn.Linear | None = None
        self._subclass_weight = 0.0

    def loss(self, images: Tensor, labels: Tensor, subclasses: Tensor | None = None) -> Tensor:
        """Cross-entropy (B,) of each image, given labels (B,) of 0 and 1.

        subclasses (B,): 0 without tumour, else 1 … k; their cross-entropy is added, if the network
        has a head for them.
        """
        logits, features = self.forward_features(images)
        with torch.autocast(device_type=images.device.type, enabled=False):
            losses = binary_cross_entropy(logits.float(), labels)
            if self.subclass_head is None or subclasses is None:
                return losses
            subclass_logits = self.subclass_head(self.avgpool(features.float()).flatten(1))
            return losses + self._subclass_weight * subclass_loss(subclass_logits, subclasses)

    def add_subclass_head(self, count: int, weight: float, seed: int) -> None:
        """Add a second head for training; a checkpoint does not hold it.

        weight: of its loss beside the first head's.
        """
        self.subclass_head = build_subclass_head(self.fc.in_features, count, seed)
        self._subclass_weight = weight

    def pooled_features(self, images: Tensor) -> Tensor:
        """The features (B, C) that the first head decides by."""
        pooled: Tensor = self.avgpool(self.features(images)).flatten(1)
        return pooled

    def features(self, images: Tensor, block: str = "") -> Tensor:
        """The features (B, C, h, w) of a block, see `forward_features`."""
        stem = self.bn1(self.conv1(self.prepare(images)))
        features: Tensor = self.maxpool(self.relu(stem))
        for module in self._split_after(block)[0]:
            features = module(features)
        return features

    def head(self, features: Tensor, block: str = "") -> Tensor:
        """Tumour logits (B,) from a block's features."""
        for module in self._split_after(block)[1]:
            features = module(features)
        logits: Tensor = self.fc(self.avgpool(features).flatten(1))
        return logits.squeeze(1)

    def _split_after(self, block: str) -> tuple[list[nn.Module], list[nn.Module]]:
        """The modules of all layers up to the end of a block, and the modules after it."""
        modules = [*self.layer1, *self.layer2, *self.layer3, *self.layer4]
        if not block:
            return modules, []

        names = block_names(self.spec.backbone)
        if block not in names:
            raise TrainingError(
                f"block {block}: no such block in {self.spec.backbone}; "
                f"use some of {','.join(names)}"
            )
        # ADLs stand between the blocks and have no block number.
        indices = [i for i, m in enumerate(modules) if not isinstance(m, AttentionDropout)]
        end = indices[names.index(block)] + 1
        return modules[:end], modules[end:]

    def prepare(self, images: Tensor) -> Tensor:
        """The network's input (B, 3 or 4, H, W): RGB, and the visual prompt, which is never
        normalised.
        """
        spec = self.spec
        images = self.resize(images)
        if spec.evp_fuse == "none":
            return self.normalise(images)

        prompt = self.high_frequencies(images)
        if spec.evp_fuse == "add":
            return self.normalise(images + prompt.to(images.dtype))
        rgb = self.normalise(images)
        return torch.cat([rgb, prompt.to(rgb.dtype)], dim=1)

    def high_frequencies(self, images: Tensor) -> Tensor:
        """The visual prompt (B, 1, H, W) of images in the network's size."""
        return extract_high_frequencies(images, self.spec.evp_ratio, self.spec.evp_block)


def build_classifier(spec: NetworkSpec) -> AdlResNet:
    """The network with torchvision's random weights; `epsam.weak.weights` sets those that training
    starts from.

    Raises TrainingError if the backbone is unknown, or if an ADL position is not the "layer.block"
    of one of its blocks.
    """
    if spec.backbone not in _BLOCKS_PER_LAYER:
        raise TrainingError(
            f"backbone {spec.backbone}: not known; use {' or '.join(_BLOCKS_PER_LAYER)}"
        )
    names = block_names(spec.backbone)
    for position in spec.adl_positions:
        if position not in names:
            raise TrainingError(
                f"ADL position {position}: no such block in {spec.backbone}; use some of "
                f"{','.join(names)}"
            )
    # This project: channels-last trains ResNet50 1.3 times as fast on a CPU as torch's own order.
    return AdlResNet(spec).to(memory_format=torch.channels_last)


def block_names(backbone: str) -> list[str]:
    """The blocks of a backbone as "layer.block", in their order."""
    names = []
    for layer, count in enumerate(_BLOCKS_PER_LAYER[backbone], start=1):
        names += [f"{layer}.{block}" for block in range(count)]
    return names


def _insert_adl(layer: nn.Sequential, number: int, spec: NetworkSpec) -> nn.Sequential:
    """The layer's blocks, with an ADL after each block of `spec.adl_positions`."""
    modules: list[nn.Module] = []
    for index, block in enumerate(layer):
        modules.append(block)
        if f"{number}.{index}" in spec.adl_positions:
            modules.append(AttentionDropout(spec.adl_drop_rate, spec.adl_threshold))
    return nn.Sequential(*modules)


def _remove_stride(layer: nn.Sequential) -> nn.Sequential:
    """The layer with all convolutions at stride 1, undilated; torchvision has no such option."""
    for module in layer.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    return layer
