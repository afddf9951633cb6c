"""The classifier of WSSS-Tissue as a weak model: two classes, tumour and normal tissue."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epsam.weak.input_size import resize_square
from epsam.weak.protocol import WeakPrediction
from epsam.wsss_tissue.layer_maps import compute_layer_maps, exceeds_normal
from epsam.wsss_tissue.progressive_dropout import drop_progressively, gamma_at
from epsam.wsss_tissue.trunks import build_trunk

TUMOUR, NORMAL = 0, 1
N_CLASSES = 2


@dataclass(frozen=True)
class TissueSpec:
    """What decides the classifier's result beside its weights, as stored in its checkpoint.

    trunk: see `build_trunk`. input_size: side in px that images are resized to; 0: none. labels:
    the classes of a patch with tumour, "both" of them or tumour alone ("single").
    """

    trunk: str
    input_size: int
    labels: str = "both"


class TissueClassifier(nn.Module):
    """A `WeakModel` of RGB images (B, 3, side, side) in 0..1."""

    def __init__(self, spec: TissueSpec) -> None:
        """The weights are random."""
        super().__init__()
        self.tissue_spec = spec
        self.trunk = build_trunk(spec.trunk)
        self.dropout = nn.Dropout2d(0.5)
        self.fc8 = nn.Linear(self.trunk.channels[-1], N_CLASSES, bias=False)
        self._gamma: float | None = None

    def start_epoch(self, epoch: int) -> None:
        """Take the attention of a training epoch, counted from 0."""
        self._gamma = gamma_at(epoch)

    def forward(self, images: Tensor) -> Tensor:
        """Tumour logits (B,)."""
        return self.class_logits(self.layers(images))[:, TUMOUR]

    def layers(self, images: Tensor) -> list[Tensor]:
        """The features (B, C, h, w) of three layers, the deepest last."""
        layers: list[Tensor] = self.trunk(resize_square(images, self.tissue_spec.input_size))
        return layers

    def class_logits(self, layers: list[Tensor]) -> Tensor:
        """Logits (B, 2) of tumour and normal tissue, from `layers`."""
        features = self.dropout(layers[-1])
        if self.training and self._gamma is not None:
            features = drop_progressively(features, self.fc8.weight, self._gamma)
        logits: Tensor = self.fc8(features.mean(dim=(2, 3)))
        return logits

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The multi-label soft margin (B,): cross-entropy of each class, in the mean.

        A patch with tumour (label 1) is tumour by 20 to 90 %, so that it has normal tissue, too.
        """
        logits = self.class_logits(self.layers(images)).float()
        has_both = self.tissue_spec.labels == "both"
        normal = torch.ones_like(labels) if has_both else 1 - labels
        targets = torch.stack([labels, normal], dim=1).to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return losses.mean(dim=1)

    def predict(self, images: Tensor) -> WeakPrediction:
        """Logits (B, 1), and maps (B, 1, h, w): by how much the deepest layer's map of tumour
        exceeds that of normal tissue.
        """
        logits, maps = compute_layer_maps(self, images)
        return WeakPrediction(logits[:, :1], exceeds_normal(maps[-1])[:, None])

    @torch.no_grad()
    def layer_masks(self, images: Tensor) -> Tensor:
        """Masks (B, 3, side, side) of images with tumour, one of each layer, the deepest last."""
        _, maps = compute_layer_maps(self, images)
        masks = []
        for of_layer in maps:
            large = F.interpolate(of_layer, images.shape[-2:], mode="bilinear", align_corners=False)
            masks.append(exceeds_normal(large) > 0)
        return torch.stack(masks, dim=1)
