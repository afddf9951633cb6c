"""The classifier's trunks: three layers of features, all at an eighth of the image's size.

ResNet38-D is the published one. Its ImageNet weights are an MXNet file, so they have to be
converted first; a dilated ResNet of torchvision stands in where nobody has done so.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from epsam.core.errors import TrainingError
from epsam.weak.cam_classifier import IMAGENET_MEAN, IMAGENET_STD
from epsam.wsss_tissue.resnet38 import ResNet38

RESNET38 = "resnet38"
RESNETS = ("resnet50", "resnet18")


class DilatedResNet(nn.Module):
    """torchvision's ResNet with layers 3 and 4 dilated instead of strided; its batch norm is
    trained.

    State-dict keys are torchvision's. channels: of the features of layers 2, 3 and 4.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str) -> None:
        """name: "resnet50" or "resnet18". The weights are random."""
        super().__init__()
        network = getattr(models, name)(weights=None)
        self.conv1, self.bn1 = network.conv1, network.bn1
        self.relu, self.maxpool = network.relu, network.maxpool
        self.layer1, self.layer2 = network.layer1, network.layer2
        self.layer3 = _dilate(network.layer3, 2)
        self.layer4 = _dilate(network.layer4, 4)
        widest = network.fc.in_features
        self.channels = (widest // 4, widest // 2, widest)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The features of layers 2, 3 and 4, (B, C, h, w) each, of images (B, 3, H, W) in 0..1."""
        stem = self.relu(self.bn1(self.conv1((images - self.mean) / self.std)))
        second = self.layer2(self.layer1(self.maxpool(stem)))
        third = self.layer3(second)
        return [second, third, self.layer4(third)]


def build_trunk(name: str) -> Any:
    """The trunk of that name with random weights. Raises TrainingError if there is none."""
    if name == RESNET38:
        return ResNet38()
    if name in RESNETS:
        return DilatedResNet(name)
    raise TrainingError(
        f"--backbone {name}: no trunk of wsss_tissue; use {', '.join((RESNET38, *RESNETS))}"
    )


def _dilate(layer: nn.Sequential, dilation: int) -> nn.Sequential:
    """The layer with all convolutions at stride 1 and its 3 × 3 ones dilated."""
    for module in layer.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (dilation, dilation)
    return layer
