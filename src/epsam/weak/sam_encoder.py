"""SAM's image encoder with adapters as a classifier of patches (WeakMedSAM).

The encoder is frozen but for its last blocks and the relative positions of its global ones; a small
adapter behind each block is trained. The map is the tumour logit of each token.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn
from torch.nn import functional as F

from epsam.config.classifier import ClassifierOptions
from epsam.core.checkpoints import check_fit, load_plain, named_tensors, save_plain
from epsam.core.device import DeviceConfig
from epsam.core.errors import TrainingError, WeightsError
from epsam.core.seeding import seed_for
from epsam.segment.sam.frames import PIXEL_MEAN, PIXEL_STD
from epsam.segment.sam.map_sam import find_map_sam
from epsam.segment.sam.models import build_sam, load_sam
from epsam.segment.sam.specs import SPECS
from epsam.weak.losses import binary_cross_entropy
from epsam.weak.protocol import WeakPrediction
from epsam.weak.subclasses import build_subclass_head, subclass_loss

DEFAULT_PX = 256
"""Side of the input in the released code: for SAM's ViT-B a quarter of its own."""
TRAINED_FRACTION = 3
"""The last of so many parts of the blocks is trained: 4 of 12 in the released code."""
ADAPTER_FRACTION = 4
"""An adapter's hidden layer has so many times fewer channels than a token."""


@dataclass(frozen=True)
class SamEncoderSpec:
    """The network's architecture, as stored in its checkpoint.

    sam: name in `SPECS`. input_px: side that images are resized to.
    """

    sam: str
    input_px: int

    @property
    def stride(self) -> int:
        """px of the input from token to token.

        With an input of another size than SAM's own, tokens overlap by half, as in SAMUS, so that a
        small input has enough of them.
        """
        spec = SPECS[self.sam]
        return spec.token_px if self.input_px == spec.input_px else spec.token_px // 2

    @property
    def grid(self) -> int:
        """Tokens of a side."""
        return self.input_px // self.stride


class Adapter(nn.Module):
    """Adds a bottleneck's answer to tokens (…, C); untrained, it adds nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.Linear(channels, channels // ADAPTER_FRACTION)
        self.up = nn.Linear(channels // ADAPTER_FRACTION, channels)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (…, C)."""
        added: Tensor = self.up(F.gelu(self.down(tokens)))
        return tokens + added


class SamEncoderClassifier(nn.Module):
    """A `WeakModel` of RGB images (B, 3, side, side) in 0..1; made by `build` and `load`."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: SamEncoderSpec, encoder: ImageEncoderViT) -> None:
        super().__init__()
        self.spec = spec
        channels = SPECS[spec.sam].embed_dim
        # The neck makes embeddings for SAM's decoder, which has no part in this.
        encoder.neck = nn.Identity()
        self.encoder = encoder
        self.adapters = nn.ModuleList([Adapter(channels) for _ in encoder.blocks])
        self.norm = nn.LayerNorm(channels)
        self.fc = nn.Linear(channels, 1, bias=False)
        self.subclass_head: nn.Linear | None = None
        self._subclass_weight = 0.0
        mean, std = torch.tensor(PIXEL_MEAN) / 255, torch.tensor(PIXEL_STD) / 255
        self.register_buffer("mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, 3, 1, 1), persistent=False)
        self._freeze()

    def _freeze(self) -> None:
        """Freeze the encoder but for its last blocks and the relative positions of global ones."""
        self.encoder.requires_grad_(False)
        blocks = list(self.encoder.blocks)
        for block in blocks[len(blocks) - max(len(blocks) // TRAINED_FRACTION, 1) :]:
            block.requires_grad_(True)
        for block in blocks:
            if not block.window_size:
                block.attn.rel_pos_h.requires_grad_(True)
                block.attn.rel_pos_w.requires_grad_(True)

    def forward(self, images: Tensor) -> Tensor:
        """Tumour logits (B,): the mean of the tokens'."""
        return self.token_logits(self.features(images)).mean(dim=(1, 2))

    def loss(self, images: Tensor, labels: Tensor, subclasses: Tensor | None = None) -> Tensor:
        """Cross-entropy (B,) of each image, given labels (B,) of 0 and 1.

        subclasses (B,): 0 without tumour, else 1 … k; their cross-entropy is added, if the network
        has a head for them.
        """
        features = self.features(images)
        with torch.autocast(device_type=images.device.type, enabled=False):
            logits = self.token_logits(features).mean(dim=(1, 2))
            losses = binary_cross_entropy(logits, labels)
            if self.subclass_head is None or subclasses is None:
                return losses
            subclass_logits = self.subclass_head(features.float().mean(dim=(1, 2)))
            return losses + self._subclass_weight * subclass_loss(subclass_logits, subclasses)

    def predict(self, images: Tensor) -> WeakPrediction:
        """Logits (B, 1) and maps (B, 1, grid, grid): the tokens' logits above their lowest."""
        tokens = self.token_logits(self.features(images))
        # Without a ReLU, as in the released code: where all tokens are below 0, there is still a
        # most suspicious one.
        maps = tokens - tokens.amin(dim=(1, 2), keepdim=True)
        return WeakPrediction(tokens.mean(dim=(1, 2))[:, None], maps[:, None])

    def pooled_features(self, images: Tensor) -> Tensor:
        """The mean (B, C) of the tokens' features."""
        return self.features(images).mean(dim=(1, 2))

    def add_subclass_head(self, count: int, weight: float, seed: int) -> None:
        """Add a second head for training; a checkpoint does not hold it.

        weight: of its loss beside the first head's.
        """
        self.subclass_head = build_subclass_head(self.fc.in_features, count, seed)
        self._subclass_weight = weight

    def token_logits(self, features: Tensor) -> Tensor:
        """Tumour logits (B, grid, grid) float32 of features (B, grid, grid, C)."""
        with torch.autocast(device_type=features.device.type, enabled=False):
            logits: Tensor = features.float() @ self.fc.weight[0].float()
        return logits

    def features(self, images: Tensor) -> Tensor:
        """The tokens' features (B, grid, grid, C)."""
        tokens = self.embed(images) + self.positions()
        for block, adapter in zip(self.encoder.blocks, self.adapters, strict=True):
            tokens = adapter(block(tokens))
        normalised: Tensor = self.norm(tokens)
        return normalised

    def embed(self, images: Tensor) -> Tensor:
        """The tokens (B, grid, grid, C) of images, without positions."""
        side = self.spec.input_px
        if images.shape[-2:] != (side, side):
            # Torch resizes with antialiasing in fp32 only.
            images = F.interpolate(
                images.float(),
                size=(side, side),
                mode="bilinear",
                align_corners=False,
                antialias=True,
            )
        projection = self.encoder.patch_embed.proj
        stride = self.spec.stride
        # Overlapping tokens reach over the border by as much on each side.
        padding = (projection.kernel_size[0] - stride) // 2
        normalised = (images - self.mean) / self.std
        tokens = F.conv2d(
            normalised, projection.weight, projection.bias, stride=stride, padding=padding
        )
        return tokens.permute(0, 2, 3, 1)

    def positions(self) -> Tensor:
        """SAM's absolute positions (1, grid, grid, C), averaged to the tokens' grid."""
        positions: Tensor = self.encoder.pos_embed
        if positions.shape[1] == self.spec.grid:
            return positions
        resized = F.interpolate(
            positions.permute(0, 3, 1, 2), (self.spec.grid, self.spec.grid), mode="area"
        )
        return resized.permute(0, 2, 3, 1)


def build(options: ClassifierOptions) -> SamEncoderClassifier:
    """The network on the weights of --map_sam; what is random depends on the seed alone.

    Raises WeightsError without these weights, TrainingError for an input of no whole tokens.
    """
    name, path = find_map_sam(options, options.dataset_type, Path(options.checkpoint_root))
    spec = SamEncoderSpec(name, options.input_size or DEFAULT_PX)
    if spec.input_px % spec.stride:
        raise TrainingError(
            f"--input_size {spec.input_px}: no multiple of {spec.stride}, the px from token to "
            f"token of {name}; take {DEFAULT_PX}"
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed_for(options.seed, "sam_encoder weights"))
        model = SamEncoderClassifier(spec, load_sam(name, path).image_encoder)
        nn.init.normal_(model.fc.weight, std=0.01)
    if options.subclasses:
        model.add_subclass_head(options.subclasses, options.subclass_weight, options.seed)
    return model


def save(path: Path, model: SamEncoderClassifier, extra: Mapping[str, Any]) -> None:
    """Write a checkpoint with all weights but those of the second head."""
    state = {}
    for key, tensor in model.state_dict().items():
        if not key.startswith("subclass_head."):
            state[key] = tensor.detach().cpu()
    save_plain(path, {**extra, "model": state, "spec": asdict(model.spec)})


def load(path: Path, device_config: DeviceConfig) -> SamEncoderClassifier:
    """The network of a checkpoint. Raises WeightsError if it does not fit."""
    content = load_plain(path)
    try:
        spec = SamEncoderSpec(**content["spec"])
        encoder = build_sam(spec.sam).image_encoder
    except (LookupError, TypeError) as error:
        raise WeightsError(
            f"{path}: describes no SAM encoder of this project ({error}); train it again"
        ) from error
    model = SamEncoderClassifier(spec, encoder)
    state = named_tensors(path, content)
    check_fit(path, "SAM's encoder with adapters", state, model.state_dict())
    model.load_state_dict(state)
    return model.to(device_config.device).eval()
