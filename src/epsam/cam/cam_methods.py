"""The CAM methods that `--cam` names (paper 3.2.1 and Table 2).

Each takes the classifier, images (B, 3, H, H) in 0..1 and a block's name, and returns the tumour
logits (B,) and non-negative maps (B, h, w), float32, unscaled, in the block's frame.
"""

import torch
from torch import Tensor

from epsam.weak.cam_classifier import CamClassifier

LogitsAndMaps = tuple[Tensor, Tensor]


def class_activation_map(model: CamClassifier, images: Tensor, block: str) -> LogitsAndMaps:
    """CAM (Zhou et al. 2016), of the classifier with or without ADL: the block's features,
    weighted by the weights of the fully connected layer, through a ReLU.

    Raises TrainingError if the block's channels do not match the fully connected layer.
    """
    logits, features = model.forward_features(images, block)
    maps = model.cam_from_features(features)
    return logits, maps


def gradcam(model: CamClassifier, images: Tensor, block: str) -> LogitsAndMaps:
    """Grad-CAM (Selvaraju et al. 2017): the features, weighted by their mean gradient."""
    logits, features, gradients = _features_and_gradients(model, images, block)
    channel_weights = gradients.mean(dim=(2, 3))
    return logits, _weighted_sum(features, channel_weights)


def gradcam_plus_plus(model: CamClassifier, images: Tensor, block: str) -> LogitsAndMaps:
    """Grad-CAM++ (Chattopadhay et al. 2018): each positive gradient has a weight of its own."""
    logits, features, gradients = _features_and_gradients(model, images, block)

    # The paper's weight is G² / (2 G² + S G³), with S the sum of a channel's features. Written as
    # 1 / (2 + S G) it is equal and does not round tiny squares to 0. Features come out of a ReLU,
    # so S ≥ 0, and the weight lies in 0..0.5 wherever it counts, at G > 0. Encoders without a ReLU
    # have sums below 0, which would turn the weight's sign.
    positive = gradients.relu()
    feature_sums = features.sum(dim=(2, 3), keepdim=True).relu()
    pixel_weights = 1 / (2 + feature_sums * positive)
    channel_weights = (pixel_weights * positive).sum(dim=(2, 3))
    return logits, _weighted_sum(features, channel_weights)


def eigencam(model: CamClassifier, images: Tensor, block: str) -> LogitsAndMaps:
    """EigenCAM (Muhammad & Yeasin 2020): the projection of each cell's features on their first
    principal axis, through a ReLU.

    The map uses no class, so a normal patch activates it as much as a tumour patch does.
    """
    logits, features = model.forward_features(images, block)
    with torch.autocast(device_type=images.device.type, enabled=False):
        cells = features.float().flatten(2).transpose(1, 2)
        mean_cell = cells.mean(dim=1, keepdim=True)
        centred = cells - mean_cell

        # The Gram matrix of the cells is smaller than the covariance of the channels, and its
        # eigenvectors are the projections themselves, up to their length.
        gram = centred @ centred.transpose(1, 2)
        eigenvalues, eigenvectors = torch.linalg.eigh(gram)
        # eigh sorts by increasing eigenvalue; rounding may leave the largest a little below 0.
        length = eigenvalues[:, -1:].clamp(min=0).sqrt()
        projection = eigenvectors[..., -1] * length

        # A principal axis has no sign. This takes the one that correlates with the cells' mean
        # feature, so that active cells are positive (docs/deviations.md, "Sign of EigenCAM").
        mean_feature = centred.mean(dim=2)
        correlation = (projection * mean_feature).sum(dim=1, keepdim=True)
        projection = torch.where(correlation < 0, -projection, projection)

    height, width = features.shape[-2:]
    maps = projection.view(-1, height, width).relu()
    return logits, maps


def _features_and_gradients(
    model: CamClassifier, images: Tensor, block: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (B,), a block's features (B, C, h, w), and the gradients of the logits by them."""
    # Only the layers after the block are differentiated; the block's features are a leaf.
    features = model.features(images, block).detach().float()
    with torch.enable_grad(), torch.autocast(device_type=images.device.type, enabled=False):
        leaf = features.requires_grad_()
        logits = model.head(leaf, block)

        # In evaluation mode the logit of an image depends on no other image, so the gradient of
        # the sum is the gradient of each.
        (gradients,) = torch.autograd.grad(logits.sum(), leaf)
    return logits.detach(), features.detach(), gradients


def _weighted_sum(features: Tensor, channel_weights: Tensor) -> Tensor:
    """relu(Σ_k w_k F_k), (B, h, w), of features (B, K, h, w) and weights (B, K)."""
    return torch.einsum("bkhw,bk->bhw", features, channel_weights).relu()
