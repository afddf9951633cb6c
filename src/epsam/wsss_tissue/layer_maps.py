"""Grad-CAM of three layers of the classifier, for both of its classes.

The classes' maps of a layer share one scale, so that the larger one decides a pixel's class. The
published code scales both from their common minimum to their common maximum before, which changes
no decision.
"""

from typing import Protocol

import torch
from torch import Tensor


class LayeredClassifier(Protocol):
    """A classifier that shows its layers."""

    def layers(self, images: Tensor) -> list[Tensor]:
        """Features (B, C, h, w) of each layer."""
        ...

    def class_logits(self, layers: list[Tensor]) -> Tensor:
        """Logits (B, classes), from `layers`."""
        ...


def compute_layer_maps(model: LayeredClassifier, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits (B, classes), and the Grad-CAM (B, classes, h, w) of each layer, without ReLU.

    The model is in evaluation mode, where an image's logit depends on no other image.
    """
    with torch.enable_grad(), torch.autocast(device_type=images.device.type, enabled=False):
        # The trunk's weights may be frozen: gradients start at the images.
        layers = model.layers(images.detach().float().requires_grad_())
        logits = model.class_logits(layers)
        maps_by_class: list[list[Tensor]] = []
        for number in range(logits.shape[1]):
            gradients = torch.autograd.grad(logits[:, number].sum(), layers, retain_graph=True)
            maps_by_class.append([_weigh(*pair) for pair in zip(layers, gradients, strict=True)])
    maps = []
    for of_layer in zip(*maps_by_class, strict=True):
        maps.append(torch.stack(of_layer, dim=1))
    return logits.detach(), maps


def exceeds_normal(maps: Tensor) -> Tensor:
    """By how much tumour exceeds normal tissue, (B, h, w), of maps (B, 2, h, w) of both; 0 where it
    does not.
    """
    return (maps[:, 0] - maps[:, 1]).relu()


def _weigh(features: Tensor, gradients: Tensor) -> Tensor:
    """Σ_k w_k F_k, (B, h, w), with the mean gradient of each channel as its weight w."""
    weights = gradients.mean(dim=(2, 3))
    return torch.einsum("bkhw,bk->bhw", features.detach(), weights)
