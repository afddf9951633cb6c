"""A trained classifier in its fastest form for inference: same answers, no further training."""

import copy
from pathlib import Path
from typing import cast

from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from epsam.core.device import DeviceConfig
from epsam.weak.resnet import AdlResNet
from epsam.weak.weights import load_classifier
from epsam.weak.winograd import WinogradConv, is_winograd_compatible

LEAST_CHANNELS = 256
"""This project: with fewer channels, on a CPU, Winograd's transforms take as long as the
multiplications that they save.
"""


def load_for_inference(path: Path, device_config: DeviceConfig) -> AdlResNet:
    """Load the classifier of a checkpoint and optimise it for inference on its device.

    Raises WeightsError as `load_classifier` does.
    """
    model = load_classifier(path, device_config.device)
    return optimise_for_inference(model, device_config)


def optimise_for_inference(model: AdlResNet, device_config: DeviceConfig) -> AdlResNet:
    """A copy of the classifier, in evaluation mode, that is optimised for inference.

    Each batch norm is folded into the convolution before it. In fp32 on a CPU, wide 3 × 3
    convolutions are computed by Winograd's algorithm. Logits and features equal those of `model` up
    to rounding (some 1e-5 of the largest); the state dict has other keys.
    """
    optimised = copy.deepcopy(model).eval()
    use_winograd = device_config.device.type == "cpu" and device_config.autocast_dtype is None
    for module in list(optimised.modules()):
        _fold_batch_norms(module)
        if use_winograd:
            _replace_by_winograd(module)
    return optimised


def _fold_batch_norms(parent: nn.Module) -> None:
    """Fold the batch norms directly below `parent` into their convolutions."""
    for name, norm in list(parent.named_children()):
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        # torchvision names each batch norm after its convolution: bn1 follows conv1 in a block and
        # in the network itself, and 1 follows 0 in a shortcut.
        conv_name = name.replace("bn", "conv") if name.startswith("bn") else str(int(name) - 1)
        conv = cast(nn.Conv2d, parent.get_submodule(conv_name))
        setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
        setattr(parent, name, nn.Identity())


def _replace_by_winograd(parent: nn.Module) -> None:
    """Replace the wide 3 × 3 convolutions directly below `parent`."""
    for name, conv in list(parent.named_children()):
        if not isinstance(conv, nn.Conv2d) or conv.in_channels < LEAST_CHANNELS:
            continue
        if is_winograd_compatible(conv):
            setattr(parent, name, WinogradConv(conv))
