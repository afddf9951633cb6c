"""A trained classifier in the form in which it answers quickest: the same answers, nothing left to
train.
"""

import copy
from pathlib import Path
from typing import cast

from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from epsam.core.device import DeviceConfig
from epsam.weak.resnet import AdlResNet
from epsam.weak.weights import load_classifier
from epsam.weak.winograd import WinogradConv, fits

LEAST_CHANNELS = 256
"""Ours: with fewer channels, on a CPU, Winograd's transforms take as long as the multiplications
that they save.
"""


def load_for_inference(path: Path, device_config: DeviceConfig) -> AdlResNet:
    """The classifier of a checkpoint on its device, in this form. Raises WeightsError as
    `load_classifier` does.
    """
    return optimise_for_inference(load_classifier(path, device_config.device), device_config)


def optimise_for_inference(model: AdlResNet, device_config: DeviceConfig) -> AdlResNet:
    """A copy of the classifier in evaluation mode, for `device_config`: each batch norm is folded into
    the convolution before it, and in fp32 on a CPU the wide 3 × 3 convolutions are computed by
    Winograd's algorithm.

    Its logits and features are those of `model`, rounding aside (some 1e-5 of the largest); its
    state dict is not.
    """
    quick = copy.deepcopy(model).eval()
    winograd = device_config.device.type == "cpu" and device_config.autocast_dtype is None
    for parent in list(quick.modules()):
        _fold(parent)
        if winograd:
            _take_winograd(parent)
    return quick


def _fold(parent: nn.Module) -> None:
    """Fold the batch norms right below `parent`, where torchvision names each one after its
    convolution.

    In a block and the network itself these are bn1 after conv1 and so on, in a shortcut 1 after 0.
    """
    for name, norm in list(parent.named_children()):
        if isinstance(norm, nn.BatchNorm2d):
            before = name.replace("bn", "conv") if name.startswith("bn") else str(int(name) - 1)
            conv = cast(nn.Conv2d, parent.get_submodule(before))
            setattr(parent, before, fuse_conv_bn_eval(conv, norm))
            setattr(parent, name, nn.Identity())


def _take_winograd(parent: nn.Module) -> None:
    for name, conv in list(parent.named_children()):
        if isinstance(conv, nn.Conv2d) and conv.in_channels >= LEAST_CHANNELS and fits(conv):
            setattr(parent, name, WinogradConv(conv))
