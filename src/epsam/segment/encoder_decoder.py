"""U-Net and DeepLabV3+ of segmentation-models-pytorch over a ResNet (paper Table 2, the fully
supervised rows), without that library's own download of weights.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epsam.config.segmenter import SegmenterOptions
from epsam.core.checkpoints import check_fit, load_network, load_plain, named_tensors, save_network
from epsam.core.device import DeviceConfig
from epsam.core.errors import WeightsError
from epsam.core.seeding import seed_for
from epsam.segment.sam.losses import decoder_loss
from epsam.weak.cam_classifier import IMAGENET_MEAN, IMAGENET_STD
from epsam.weak.imagenet import find_or_download_imagenet

ENCODER_KEY = "encoder"
"""Key of a checkpoint: the name of the network's encoder."""
LARGEST_STRIDE = 32
"""The encoder halves an image five times."""

Architecture = Callable[..., nn.Module]
"""A class of segmentation-models-pytorch."""


class EncoderDecoder(nn.Module):
    """A `Segmenter` of RGB images (B, 3, side, side) in 0..1, normalised as ImageNet's."""

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: Architecture, encoder: str) -> None:
        """encoder: "resnet50" or "resnet18". The weights are random."""
        super().__init__()
        self.encoder_name = encoder
        self.network = architecture(encoder, encoder_weights=None, in_channels=3, classes=1)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 1, side, side)."""
        height, width = images.shape[-2:]
        count = len(images)
        if self.training and count == 1:
            # DeepLabV3+ pools an image to a single value, whose variance over a batch of one image
            # batch norm refuses. Twice the same image has the same statistics.
            images = images.repeat(2, 1, 1, 1)
        # Whatever is no multiple of the stride is padded to one by its border.
        padding = (0, -width % LARGEST_STRIDE, 0, -height % LARGEST_STRIDE)
        padded = F.pad((images - self.mean) / self.std, padding, mode="replicate")
        logits: Tensor = self.network(padded)
        return logits[:count, :, :height, :width]

    def loss(self, images: Tensor, masks: Tensor) -> Tensor:
        """Dice + IoU (B,) as for SAM's decoder; cross-entropy where a mask is empty."""
        # Class 0 of 1: tumour.
        return decoder_loss(self(images)[:, 0].float(), masks[:, 0].float())

    def predict(self, images: Tensor) -> Tensor:
        """Probabilities (B, 1, side, side)."""
        logits: Tensor = self(images)
        return logits.sigmoid()


def build_network(
    name: str, architecture: Architecture, options: SegmenterOptions
) -> EncoderDecoder:
    """The network with the encoder's weights of --pretrained; what is random depends on the seed
    alone.

    Raises WeightsError if the encoder's weights cannot be obtained or do not fit.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed_for(options.seed, f"{name} weights"))
        model = EncoderDecoder(architecture, options.encoder)
    if options.pretrained != "none":
        _load_encoder(model, options)
    return model


def save(path: Path, model: EncoderDecoder, extra: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    save_network(path, model, {**extra, ENCODER_KEY: model.encoder_name})


def load_encoder_decoder(
    path: Path, architecture: Architecture, device_config: DeviceConfig
) -> EncoderDecoder:
    """The network of a checkpoint. Raises WeightsError if it does not fit."""
    model = EncoderDecoder(architecture, read_encoder_name(path, load_plain(path)))
    load_network(path, model)
    return model.to(device_config.device).eval()


def read_encoder_name(path: Path, content: Mapping[str, Any]) -> str:
    """The encoder that a checkpoint's content names. Raises WeightsError for none."""
    encoder = content.get(ENCODER_KEY)
    if encoder not in ("resnet50", "resnet18"):
        raise WeightsError(
            f"{path}: names no encoder of this project, found {encoder!r}; train it again"
        )
    return str(encoder)


def _load_encoder(model: EncoderDecoder, options: SegmenterOptions) -> None:
    """Load torchvision's ResNet, or another state dict of one, without its classifier."""
    path = Path(options.pretrained)
    if options.pretrained == "imagenet":
        path = find_or_download_imagenet(options.encoder, Path(options.checkpoint_root))
    state = {}
    for key, tensor in named_tensors(path, load_plain(path)).items():
        if not key.startswith("fc."):
            state[key] = tensor

    encoder: Any = model.network.encoder
    expected = encoder.state_dict()
    for key, tensor in expected.items():
        # Batch norm's counters play no part in its result and are missing in old files.
        if key.endswith("num_batches_tracked"):
            state.setdefault(key, tensor)
    check_fit(path, options.encoder, state, expected)
    encoder.load_state_dict(state)
