"""Activation maps by the gradient of the tumour logit: Grad-CAM and Grad-CAM++ (paper Table 2)."""

import torch
from torch import Tensor

from epsam.weak.resnet import AdlResNet


def gradcam(model: AdlResNet, images: Tensor, block: str) -> tuple[Tensor, Tensor]:
    """Logits (B,) and maps (B, h, w): features weighted by their mean gradient, cut at 0 (Selvaraju
    et al. 2017).
    """
    logits, features, gradients = _gradients(model, images, block)
    return logits, _weighted(features, gradients.mean(dim=(2, 3)))


def gradcam_plus_plus(model: AdlResNet, images: Tensor, block: str) -> tuple[Tensor, Tensor]:
    """Logits (B,) and maps (B, h, w) with each positive gradient weighted on its own (Chattopadhay
    et al. 2018).

    The weight G² / (2 G² + S G³), S being a channel's sum of features, is taken as 1 / (2 + S G):
    equal, and safe from the rounding of tiny squares. Features come out of a ReLU, so it lies in
    0..0.5 wherever it counts, at G > 0.
    """
    logits, features, gradients = _gradients(model, images, block)
    positive = gradients.relu()
    share = 1 / (2 + features.sum(dim=(2, 3), keepdim=True) * positive)
    return logits, _weighted(features, (share * positive).sum(dim=(2, 3)))


def _gradients(model: AdlResNet, images: Tensor, block: str) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, a block's features and the logits' gradients by them; only what follows the block is
    differentiated.
    """
    features = model.features(images, block).detach().float()
    with torch.enable_grad(), torch.autocast(device_type=images.device.type, enabled=False):
        leaf = features.requires_grad_()
        logits = model.head(leaf, block)
        # In evaluation mode an image's logit depends on no other image: one sum serves the whole
        # batch.
        (gradients,) = torch.autograd.grad(logits.sum(), leaf)
    return logits.detach(), features.detach(), gradients


def _weighted(features: Tensor, weights: Tensor) -> Tensor:
    return torch.einsum("bkhw,bk->bhw", features, weights).relu()
