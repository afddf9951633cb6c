"""What classifiers have in common that CAM methods make maps of: features, a pooled head of one
logit, and how images reach the network.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from epsam.config.classifier import NetworkOptions
from epsam.core.errors import TrainingError
from epsam.methods import CAM_METHODS, load_function
from epsam.weak.frequency import FrequencyBlock
from epsam.weak.input_size import resize_square
from epsam.weak.losses import binary_cross_entropy
from epsam.weak.protocol import WeakPrediction

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class NetworkSpec:
    """The network's architecture and preprocessing, as stored in its checkpoint.

    adl_positions: blocks that an ADL follows, as "layer.block" in torchvision's numbering.
    normalise: whether RGB is normalised by ImageNet's mean and standard deviation. input_size: side
    in px that images are resized to; 0: none. evp_fuse: the visual prompt is a fourth channel
    ("concat"), is added to RGB ("add"), or is left out ("none"). cam: the CAM method that the
    network is trained for.
    """

    backbone: str = "resnet50"
    evp_ratio: float = 0.25
    evp_block: FrequencyBlock = "ratio"
    adl_positions: tuple[str, ...] = ("3.0", "4.0")
    adl_drop_rate: float = 0.75
    adl_threshold: float = 0.8
    normalise: bool = True
    input_size: int = 0
    evp_fuse: str = "concat"
    cam: str = "enhanced_adl"

    @classmethod
    def of(cls, options: NetworkOptions) -> "NetworkSpec":
        """The network for the options' CAM method; options that it does not need are ignored."""
        architecture = CAM_METHODS[options.cam].classifier
        return cls(
            backbone=options.backbone,
            evp_ratio=options.evp_ratio,
            adl_positions=() if architecture == "plain" else options.adl_positions,
            adl_drop_rate=options.adl_drop_rate,
            adl_threshold=options.adl_threshold,
            input_size=options.input_size,
            evp_fuse=options.evp_fuse if architecture == "enhanced_adl" else "none",
            cam=options.cam,
        )


class CamClassifier(nn.Module, ABC):
    """Tumour classifier for RGB images (B, 3, H, W) in 0..1.

    Its logit is `fc` of the mean over the cells of the last block's features.
    """

    mean: Tensor
    std: Tensor
    fc: nn.Linear

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        # Not in the state dict, so that its keys stay those of the published code.
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    @abstractmethod
    def features(self, images: Tensor, block: str = "") -> Tensor:
        """The features (B, C, h, w) of a block, see `forward_features`."""

    @abstractmethod
    def head(self, features: Tensor, block: str = "") -> Tensor:
        """Tumour logits (B,) from a block's features."""

    def forward(self, images: Tensor) -> Tensor:
        """Tumour logits (B,)."""
        return self.forward_features(images)[0]

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy (B,) of each image, given labels (B,) of 0 and 1."""
        logits = self(images)
        with torch.autocast(device_type=images.device.type, enabled=False):
            return binary_cross_entropy(logits.float(), labels)

    def predict(self, images: Tensor) -> WeakPrediction:
        """Logits (B, 1) and maps (B, 1, h, w) by the CAM method that the network is trained for."""
        functions = {name: method.function for name, method in CAM_METHODS.items()}
        logits, maps = load_function(functions, "--cam", self.spec.cam)(self, images, "")
        return WeakPrediction(logits[:, None], maps[:, None])

    def forward_features(self, images: Tensor, block: str = "") -> tuple[Tensor, Tensor]:
        """Tumour logits (B,) and a block's features (B, C, h, w).

        block: "layer.block" in torchvision's numbering; empty: the last. One cell of layers 3 and 4
        covers 16 px of the network's input. Raises TrainingError if there is no such block.
        """
        features = self.features(images, block)
        return self.head(features, block), features

    def resize(self, images: Tensor) -> Tensor:
        """The images in the network's input size."""
        return resize_square(images, self.spec.input_size)

    def normalise(self, images: Tensor) -> Tensor:
        """The images by ImageNet's mean and standard deviation."""
        return (images - self.mean) / self.std if self.spec.normalise else images

    def cam(self, images: Tensor) -> Tensor:
        """Class activation map (B, h, w) of images (B, 3, H, W), float32, unscaled: see
        `cam_from_features`.
        """
        return self.cam_from_features(self.forward_features(images)[1])

    def cam_from_features(self, features: Tensor) -> Tensor:
        """relu(Σ_k w_k F_k), (B, h, w) float32, of a block's features F with the weights w of the
        fully connected layer, without its bias.

        Raises TrainingError if the block's channels do not match the fully connected layer.
        """
        # The published code takes the features of layer 4's first block, for which the fully
        # connected layer was not trained (docs/deviations.md, "Layer of the map").
        if features.shape[1] != self.fc.in_features:
            raise TrainingError(
                f"features of {features.shape[1]} channels for a classifier of "
                f"{self.fc.in_features}; take a block of layer 4 by --cam_layer, or --cam gradcam"
            )
        with torch.autocast(device_type=features.device.type, enabled=False):
            return torch.einsum("bkhw,k->bhw", features.float(), self.fc.weight[0].float()).relu()
