"""Details for SAM's mask decoder: a small convolutional network beside its upscaling, which sees
the image itself (this project; skip features as in U-Net).

SAM's decoder knows an image by one vector for each token, 8 px wide here, from an encoder that is
frozen. What the encoder does not tell apart, no training of the decoder can. The branch reads the
pixels, and the embedding after it attended to the prompt, and adds to the upscaled embedding that
the masks are made from. It is part of the decoder, and is trained with it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epsam.segment.sam.mask_decoder import BatchedMaskDecoder

CHANNELS = (24, 48, 96, 128)
"""This project: channels at a half, a quarter, an eighth and a sixteenth of the image."""
EMBEDDING_CHANNELS = 64
NORM_GROUPS = 8


class DetailBranch(nn.Module):
    """A U-Net over the pixels that takes the embedding in at its resolution, 1/8 of the image."""

    def __init__(self, embedding_dim: int, out_channels: int) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = CHANNELS
        self.to_half = _convolution(3, half, stride=2)
        self.to_quarter = _convolution(half, quarter, stride=2)
        self.to_eighth = _convolution(quarter, eighth, stride=2)
        self.project_embedding = nn.Conv2d(embedding_dim, EMBEDDING_CHANNELS, 1)
        self.join = _convolution(eighth + EMBEDDING_CHANNELS, eighth)
        self.to_sixteenth = nn.Sequential(
            _convolution(eighth, sixteenth, stride=2), _convolution(sixteenth, sixteenth)
        )
        self.back_to_eighth = _convolution(sixteenth + eighth, eighth)
        self.back_to_quarter = _convolution(eighth + quarter, quarter)
        self.back_to_half = _convolution(quarter + half, half)
        self.output = nn.Conv2d(half, out_channels, 1)
        # It starts by adding nothing: the decoder is what it was without the branch.
        for parameter in self.output.parameters():
            nn.init.zeros_(parameter)

    def forward(self, embedding: Tensor, pixels: Tensor) -> Tensor:
        """(B, out_channels, side / 2, side / 2) for embeddings (B, C, side / 8, side / 8) and
        normalised images (B, 3, side, side).
        """
        half = self.to_half(pixels)
        quarter = self.to_quarter(half)
        eighth = self.to_eighth(quarter)
        eighth = self.join(torch.cat([eighth, self.project_embedding(embedding)], dim=1))
        sixteenth = self.to_sixteenth(eighth)

        back = self.back_to_eighth(_beside(sixteenth, eighth))
        back = self.back_to_quarter(_beside(back, quarter))
        back = self.back_to_half(_beside(back, half))
        details: Tensor = self.output(back)
        return details


class DetailMaskDecoder(BatchedMaskDecoder):
    """SAM's mask decoder with a `DetailBranch`; for tokens of 8 px."""

    reads_pixels = True

    def __init__(self, *, transformer_dim: int, transformer: nn.Module, **settings: int) -> None:
        super().__init__(transformer_dim=transformer_dim, transformer=transformer, **settings)
        # As wide as the upscaled embedding.
        self.detail = DetailBranch(transformer_dim, transformer_dim // 8)

    def upscale(self, embedding: Tensor, pixels: Tensor | None) -> Tensor:
        """See `BatchedMaskDecoder`. Raises ValueError without pixels."""
        if pixels is None:
            raise ValueError("this decoder reads the image's pixels beside its embedding")
        details = self.detail(embedding, pixels.expand(len(embedding), -1, -1, -1))
        upscaled: Tensor = super().upscale(embedding, pixels) + details
        return upscaled


def _convolution(channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """3 × 3, and a norm of each image by itself, so that a mask does not depend on its batch."""
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(NORM_GROUPS, out_channels),
        nn.ReLU(inplace=True),
    )


def _beside(coarse: Tensor, fine: Tensor) -> Tensor:
    """Both features at the resolution of the fine one, in one tensor."""
    size = fine.shape[-2:]
    upscaled = F.interpolate(coarse, size, mode="bilinear", align_corners=False)
    return torch.cat([upscaled, fine], dim=1)
