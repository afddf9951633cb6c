"""Activation maps without gradient or class: the features' first principal component, EigenCAM
(paper Table 2).
"""

import torch
from torch import Tensor

from epsam.weak.resnet import AdlResNet


def eigencam(model: AdlResNet, images: Tensor, block: str) -> tuple[Tensor, Tensor]:
    """Logits (B,) and maps (B, h, w): each cell's features along their first principal axis, cut at
    0.

    An axis has no sign of its own; ours is the one that goes with the cells' mean feature (methods
    2b). Source: Muhammad & Yeasin 2020. The map knows no class, so that it is no less active in a
    normal patch.
    """
    logits, features = model.forward_features(images, block)
    with torch.autocast(device_type=images.device.type, enabled=False):
        cells = features.float().flatten(2).transpose(1, 2)
        centred = cells - cells.mean(dim=1, keepdim=True)
        # The cells' Gram matrix is smaller than the channels' covariance, and gives the projection
        # itself.
        values, vectors = torch.linalg.eigh(centred @ centred.transpose(1, 2))
        along = vectors[..., -1] * values[:, -1:].clamp(min=0).sqrt()
        towards = (along * centred.mean(dim=2)).sum(dim=1, keepdim=True)
        along = torch.where(towards < 0, -along, along)
    return logits, along.view(len(along), *features.shape[-2:]).relu()
