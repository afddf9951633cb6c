"""Activation maps by the classifier's own weights: (enhanced) ADL (paper 3.2.1; Zhou et al.'s
CAM).
"""

from torch import Tensor

from epsam.weak.resnet import AdlResNet


def class_weights(model: AdlResNet, images: Tensor, block: str) -> tuple[Tensor, Tensor]:
    """Logits (B,) and maps (B, h, w) of images (B, 3, H, H): features weighted by the fc, cut at
    0.
    """
    logits, features = model.forward_features(images, block)
    return logits, model.class_activation(features)
