"""Encoders of three stages: VGG16's first blocks, with or without attention, and Swin-T's.

Their convolutions and blocks have torchvision's numbers (`features.N`), so that its ImageNet
weights load by name.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision import models

from epsam.core.checkpoints import State, check_fit, load_plain, named_tensors
from epsam.mil.criss_cross import CrissCrossAttention
from epsam.weak.imagenet import find_or_download_imagenet


class VggStage(NamedTuple):
    """A stage of VGG16: input and output channels, and its convolutions' torchvision numbers."""

    inputs: int
    channels: int
    convolutions: tuple[int, ...]


VGG_STAGES = (
    VggStage(3, 64, (0, 2)),
    VggStage(64, 128, (5, 7)),
    VggStage(128, 256, (10, 12, 14)),
)
SWIN_STAGES = (1, 3, 5)
"""Swin-T's stages that have a side output, by torchvision's number; each ends where the next
begins to merge patches.
"""
SWIN_CHANNELS = (96, 192, 384)


class MilEncoder(nn.Module):
    """An encoder of three stages.

    backbone: its name among the files of ImageNet's weights. channels: of each stage's features.
    features: what those weights are for, under torchvision's numbers.
    """

    backbone: str
    channels: tuple[int, ...]
    features: Any

    def forward(self, images: Tensor) -> list[Tensor]:
        """The features (B, C, h, w) of each stage, of normalised images (B, 3, H, W)."""
        raise NotImplementedError


class VggEncoder(MilEncoder):
    """VGG16 up to its third pooling, with batch norm: strides 2, 4 and 8 (DWS-MIL).

    has_attention: criss-cross attention before each pooling (SA-MIL).
    """

    backbone = "vgg16"

    def __init__(self, has_attention: bool) -> None:
        super().__init__()
        self.channels = tuple(stage.channels for stage in VGG_STAGES)
        self.features = nn.ModuleDict()
        self.norms = nn.ModuleDict()
        self.attention = nn.ModuleList()
        for stage in VGG_STAGES:
            inputs = stage.inputs
            for number in stage.convolutions:
                convolution = nn.Conv2d(inputs, stage.channels, kernel_size=3, padding=1)
                nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
                convolution.bias = nn.Parameter(torch.zeros(stage.channels))
                self.features[str(number)] = convolution
                self.norms[str(number)] = nn.BatchNorm2d(stage.channels)
                inputs = stage.channels
            if has_attention:
                self.attention.append(CrissCrossAttention(stage.channels))

    def forward(self, images: Tensor) -> list[Tensor]:
        """See `MilEncoder`: features after each stage's pooling."""
        outputs = []
        features = images
        for index, stage in enumerate(VGG_STAGES):
            for number in stage.convolutions:
                convolution, norm = self.features[str(number)], self.norms[str(number)]
                features = torch.relu(norm(convolution(features)))
            if self.attention:
                features = self.attention[index](features)
            features = nn.functional.max_pool2d(features, kernel_size=2)
            outputs.append(features)
        return outputs


class SwinEncoder(MilEncoder):
    """Swin-T up to its third stage: strides 4, 8 and 16, with a layer norm on each output."""

    backbone = "swin_t"

    def __init__(self) -> None:
        super().__init__()
        self.channels = SWIN_CHANNELS
        # The last stage has no side output.
        self.features = models.swin_t(weights=None).features[: SWIN_STAGES[-1] + 1]
        self.norms = nn.ModuleList(nn.LayerNorm(count) for count in SWIN_CHANNELS)

    def forward(self, images: Tensor) -> list[Tensor]:
        """See `MilEncoder`."""
        outputs: list[Tensor] = []
        features = images
        for number, module in enumerate(self.features):
            features = module(features)
            if number in SWIN_STAGES:
                norm = self.norms[len(outputs)]
                # Swin has its channels last.
                outputs.append(norm(features).permute(0, 3, 1, 2))
        return outputs


def load_pretrained(encoder: MilEncoder, pretrained: str, folder: Path) -> None:
    """Load the weights that training starts from: "imagenet" (torchvision's file, in `folder` or
    downloaded to it), "none" (the encoder stays as it is), or the path of such a file.

    Raises WeightsError if they cannot be obtained or do not fit.
    """
    if pretrained == "none":
        return
    path = Path(pretrained)
    if pretrained == "imagenet":
        path = find_or_download_imagenet(encoder.backbone, folder)

    # Of the file, the stages that this encoder has; its batch and layer norms on outputs are new.
    prefix = "features."
    expected = encoder.features.state_dict()
    state: State = {}
    for name, tensor in named_tensors(path, load_plain(path)).items():
        key = name.removeprefix(prefix)
        if name.startswith(prefix) and key in expected:
            state[key] = tensor
    check_fit(path, encoder.backbone, state, expected)
    encoder.features.load_state_dict(state)
