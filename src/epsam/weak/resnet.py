"""The classifier: a ResNet, with the explicit visual prompt and ADL or without either (paper 3.2.1,
Table 2).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from epsam.config.classifier import NetworkOptions
from epsam.core.errors import TrainingError
from epsam.methods import CAM_METHODS
from epsam.weak.adl import AttentionDropout
from epsam.weak.frequency import FrequencyBlock, high_frequency

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet18": (2, 2, 2, 2)}


@dataclass(frozen=True)
class NetworkSpec:
    """All that decides the network's form and what it does with an image; kept in its checkpoint.

    adl_positions: "layer.block", both as torchvision counts them: an ADL follows that block.
    normalise: whether RGB is brought to ImageNet's mean and deviation. input_size: side in px, 0:
    images as they are. evp_fuse: the visual prompt is the fourth channel ("concat"), is added to
    RGB ("add"), or there is none ("none"). cam: the activation map that the network is for.
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
        """The network that the options' `cam` is for; options that it has no use for are left
        out.
        """
        kind = CAM_METHODS[options.cam].classifier
        return cls(
            backbone=options.backbone,
            evp_ratio=options.evp_ratio,
            adl_positions=() if kind == "plain" else options.adl_positions,
            adl_drop_rate=options.adl_drop_rate,
            adl_threshold=options.adl_threshold,
            input_size=options.input_size,
            evp_fuse=options.evp_fuse if kind == "enhanced_adl" else "none",
            cam=options.cam,
        )


class AdlResNet(nn.Module):
    """Tumour classifier for RGB images (B, 3, H, W) in [0, 1]; make it with `build_classifier`.

    State-dict keys are torchvision's, except that an ADL takes an index of its own in its layer
    (layer3.0 is the first block, layer3.1 the ADL after it, layer3.2 the second block), as in the
    published code.
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
        self.layer1 = _with_adl(trunk.layer1, 1, spec)
        self.layer2 = _with_adl(trunk.layer2, 2, spec)
        self.layer3 = _with_adl(trunk.layer3, 3, spec)
        self.layer4 = _with_adl(_without_stride(trunk.layer4), 4, spec)
        self.avgpool, self.fc = trunk.avgpool, trunk.fc
        # Not in the state dict: its keys are those of the published code.
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Tumour logits (B,)."""
        return self.forward_features(images)[0]

    def forward_features(self, images: Tensor, block: str = "") -> tuple[Tensor, Tensor]:
        """Tumour logits (B,) and a block's features (B, C, h, w).

        block: "layer.block" as torchvision counts them; empty: the last. 16 px of the network's
        input are one cell of layers 3 and 4. Raises TrainingError if there is no such block.
        """
        features = self.features(images, block)
        return self.head(features, block), features

    def features(self, images: Tensor, block: str = "") -> Tensor:
        """The features (B, C, h, w) of a block, see `forward_features`."""
        found: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(self.prepare(images)))))
        for module in self._divided(block)[0]:
            found = module(found)
        return found

    def head(self, features: Tensor, block: str = "") -> Tensor:
        """Tumour logits (B,) from a block's features."""
        for module in self._divided(block)[1]:
            features = module(features)
        logits: Tensor = self.fc(self.avgpool(features).flatten(1))
        return logits.squeeze(1)

    def _divided(self, block: str) -> tuple[list[nn.Module], list[nn.Module]]:
        """The modules of all layers up to the end of a block, and those after it."""
        modules = [
            module
            for layer in (self.layer1, self.layer2, self.layer3, self.layer4)
            for module in layer
        ]
        if not block:
            return modules, []
        names = block_names(self.spec.backbone)
        if block not in names:
            raise TrainingError(
                f"block {block}: no such block in {self.spec.backbone}; use some of {','.join(names)}"
            )
        blocks = [
            place
            for place, module in enumerate(modules)
            if not isinstance(module, AttentionDropout)
        ]
        end = blocks[names.index(block)] + 1
        return modules[:end], modules[end:]

    def prepare(self, images: Tensor) -> Tensor:
        """The channels (B, 3 or 4, H, W) that the network sees: RGB, and the visual prompt, which
        is not normalised.
        """
        side = self.spec.input_size
        if side and images.shape[-2:] != (side, side):
            # torch resizes with antialiasing in fp32 only on a CPU; under autocast, augmented
            # images may come in bf16.
            images = F.interpolate(
                images.float(),
                size=(side, side),
                mode="bilinear",
                align_corners=False,
                antialias=True,
            )
        fuse = self.spec.evp_fuse
        prompt = (
            None
            if fuse == "none"
            else high_frequency(images, self.spec.evp_ratio, self.spec.evp_block)
        )
        if prompt is not None and fuse == "add":
            images = images + prompt.to(images.dtype)
        rgb = (images - self.mean) / self.std if self.spec.normalise else images
        return (
            torch.cat([rgb, prompt.to(rgb.dtype)], dim=1)
            if prompt is not None and fuse == "concat"
            else rgb
        )

    def cam(self, images: Tensor) -> Tensor:
        """Class activation map (B, h, w) of images (B, 3, H, W), float32, not scaled: see
        `cam_from_features`.
        """
        return self.cam_from_features(self.forward_features(images)[1])

    def cam_from_features(self, features: Tensor) -> Tensor:
        """relu(Σ_k w_k F_k), (B, h, w) float32, of a block's features F with the fc weights w;
        without bias.

        The published code takes the features of layer4's first block, for which the fc was not
        trained (methods D16). Raises TrainingError if the block has another number of channels than
        the fc.
        """
        if features.shape[1] != self.fc.in_features:
            raise TrainingError(
                f"features of {features.shape[1]} channels for a classifier of {self.fc.in_features}; "
                "take a block of layer 4 by --cam_layer, or --cam gradcam"
            )
        with torch.autocast(device_type=features.device.type, enabled=False):
            return torch.einsum("bkhw,k->bhw", features.float(), self.fc.weight[0].float()).relu()


def build_classifier(spec: NetworkSpec) -> AdlResNet:
    """The network with torchvision's random weights; `epsam.weak.weights` sets the ones to start
    from.

    Raises TrainingError if the backbone is unknown or an ADL position is not "layer.block" of a
    block that exists.
    """
    if spec.backbone not in _BLOCKS:
        raise TrainingError(f"backbone {spec.backbone}: not known; use {' or '.join(_BLOCKS)}")
    known = block_names(spec.backbone)
    for position in spec.adl_positions:
        if position not in known:
            raise TrainingError(
                f"ADL position {position}: no such block in {spec.backbone}; use some of "
                f"{','.join(known)}"
            )
    # Ours: 1.3 times as fast in training as torch's own order of memory, for ResNet50 on a CPU.
    return AdlResNet(spec).to(memory_format=torch.channels_last)


def block_names(backbone: str) -> list[str]:
    """The blocks of a backbone as "layer.block", in their order."""
    return [
        f"{layer}.{block}"
        for layer, count in enumerate(_BLOCKS[backbone], start=1)
        for block in range(count)
    ]


def _with_adl(layer: nn.Sequential, number: int, spec: NetworkSpec) -> nn.Sequential:
    """The layer's blocks, each chosen one followed by an ADL."""
    members: list[nn.Module] = []
    for index, block in enumerate(layer):
        members.append(block)
        if f"{number}.{index}" in spec.adl_positions:
            members.append(AttentionDropout(spec.adl_drop_rate, spec.adl_threshold))
    return nn.Sequential(*members)


def _without_stride(layer: nn.Sequential) -> nn.Sequential:
    """The layer at stride 1, undilated: maps twice as fine. Set by hand as torchvision has no such
    choice.
    """
    for module in layer.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    return layer
