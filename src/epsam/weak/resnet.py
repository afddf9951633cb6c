"""The classifier: a ResNet with the explicit visual prompt (EVP) and attention-based dropout (ADL),
or without either (paper 3.2.1, Table 2).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from epsam.config.classifier import NetworkOptions
from epsam.core.errors import TrainingError
from epsam.methods import CAM_METHODS, load_function
from epsam.weak.adl import AttentionDropout
from epsam.weak.frequency import FrequencyBlock, extract_high_frequencies
from epsam.weak.losses import binary_cross_entropy
from epsam.weak.protocol import WeakPrediction
from epsam.weak.subclasses import build_subclass_head, subclass_loss

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_BLOCKS_PER_LAYER = {"resnet50": (3, 4, 6, 3), "resnet18": (2, 2, 2, 2)}


@dataclass(frozen=True)
class NetworkSpec:
    """The network's architecture and preprocessing, as stored in its checkpoint.

    adl_positions: blocks that an ADL follows, as "layer.block" in torchvision's numbering.
    normalise: whether RGB is normalised by ImageNet's mean and standard deviation. input_size: side
    in px that images are resized to; 0: none. evp_fuse: the visual prompt is a fourth channel
    ("concat"), is added to RGB ("add"), or is left out ("none"). cam: the CAM method that the
    network is trained for.
    """

    backbone: str = "resnet50"
    evp_ratio: float = 0.25
    evp_block: FrequencyBlock = "ratio"
    adl_positions: tuple[str, ...] = ("3.0", "4.0")
    adl_drop_rate: float = 0.75
    adl_threshold: float = 0.8
    normalise: bool = True
    input_size: int = 0
    evp_fuse: str = "concat"
    cam: str = "enhanced_adl"

    @classmethod
    def of(cls, options: NetworkOptions) -> "NetworkSpec":
        """The network for the options' CAM method; options that it does not need are ignored."""
        architecture = CAM_METHODS[options.cam].classifier
        return cls(
            backbone=options.backbone,
            evp_ratio=options.evp_ratio,
            adl_positions=() if architecture == "plain" else options.adl_positions,
            adl_drop_rate=options.adl_drop_rate,
            adl_threshold=options.adl_threshold,
            input_size=options.input_size,
            evp_fuse=options.evp_fuse if architecture == "enhanced_adl" else "none",
            cam=options.cam,
        )


class AdlResNet(nn.Module):
    """Tumour classifier for RGB images (B, 3, H, W) in 0..1; make it with `build_classifier`.

    State-dict keys are torchvision's, except that an ADL takes up an index in its layer: layer3.0
    is the first block, layer3.1 the ADL after it, layer3.2 the second block. The published code
    numbers them in the same way.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
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

        # Not in the state dict, so that its keys stay those of the published code.
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Tumour logits (B,)."""
        return self.forward_features(images)[0]

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

    def predict(self, images: Tensor) -> WeakPrediction:
        """Logits (B, 1) and maps (B, 1, h, w) by the CAM method that the network is trained for."""
        functions = {name: method.function for name, method in CAM_METHODS.items()}
        logits, maps = load_function(functions, "--cam", self.spec.cam)(self, images, "")
        return WeakPrediction(logits[:, None], maps[:, None])

    def forward_features(self, images: Tensor, block: str = "") -> tuple[Tensor, Tensor]:
        """Tumour logits (B,) and a block's features (B, C, h, w).

        block: "layer.block" in torchvision's numbering; empty: the last. One cell of layers 3 and 4
        covers 16 px of the network's input. Raises TrainingError if there is no such block.
        """
        features = self.features(images, block)
        return self.head(features, block), features

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
        images = self._resize(images)
        if spec.evp_fuse == "none":
            return self._normalise(images)

        prompt = self.high_frequencies(images)
        if spec.evp_fuse == "add":
            return self._normalise(images + prompt.to(images.dtype))
        rgb = self._normalise(images)
        return torch.cat([rgb, prompt.to(rgb.dtype)], dim=1)

    def high_frequencies(self, images: Tensor) -> Tensor:
        """The visual prompt (B, 1, H, W) of images in the network's size."""
        return extract_high_frequencies(images, self.spec.evp_ratio, self.spec.evp_block)

    def _resize(self, images: Tensor) -> Tensor:
        side = self.spec.input_size
        if not side or images.shape[-2:] == (side, side):
            return images
        # On a CPU, torch resizes with antialiasing in fp32 only; under autocast, augmented images
        # may come in bf16.
        return F.interpolate(
            images.float(),
            size=(side, side),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )

    def _normalise(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std if self.spec.normalise else images

    def cam(self, images: Tensor) -> Tensor:
        """Class activation map (B, h, w) of images (B, 3, H, W), float32, unscaled: see
        `cam_from_features`.
        """
        return self.cam_from_features(self.forward_features(images)[1])

    def cam_from_features(self, features: Tensor) -> Tensor:
        """relu(Σ_k w_k F_k), (B, h, w) float32, of a block's features F with the weights w of the
        fully connected layer, without its bias.

        Raises TrainingError if the block's channels do not match the fully connected layer.
        """
        # The published code takes the features of layer 4's first block, for which the fully
        # connected layer was not trained (docs/deviations.md, "Layer of the map").
        if features.shape[1] != self.fc.in_features:
            raise TrainingError(
                f"features of {features.shape[1]} channels for a classifier of "
                f"{self.fc.in_features}; take a block of layer 4 by --cam_layer, or --cam gradcam"
            )
        with torch.autocast(device_type=features.device.type, enabled=False):
            return torch.einsum("bkhw,k->bhw", features.float(), self.fc.weight[0].float()).relu()


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
