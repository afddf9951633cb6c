"""Side outputs: a map of tumour probabilities from each stage of an encoder, and their sum."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SideOutputs(nn.Module):
    """A 1 × 1 convolution for each stage's features, and fixed weights of the fused map."""

    def __init__(self, channels: Sequence[int], weights: Sequence[float]) -> None:
        """channels: of each stage's features. weights: of each stage's map; their sum is 1."""
        super().__init__()
        self.weights = tuple(weights)
        self.heads = nn.ModuleList()
        for count in channels:
            head = nn.Conv2d(count, 1, kernel_size=1)
            nn.init.xavier_uniform_(head.weight)
            head.bias = nn.Parameter(torch.zeros(1))
            self.heads.append(head)

    def forward(self, features: Sequence[Tensor], side: int) -> list[Tensor]:
        """Maps (B, 1, side, side), float32 in 0..1, of features (B, C, h, w): the fused one first,
        then one for each stage.
        """
        maps = []
        for head, of_stage in zip(self.heads, features, strict=True):
            # Logits are enlarged, not probabilities; corners stay where they are, as in the
            # published networks.
            logits = F.interpolate(
                head(of_stage).float(), size=(side, side), mode="bilinear", align_corners=True
            )
            maps.append(logits.sigmoid())
        return [fuse(maps, self.weights), *maps]


def fuse(maps: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted sum of maps of one shape."""
    weighted = [weight * of_stage for weight, of_stage in zip(weights, maps, strict=True)]
    return torch.stack(weighted).sum(dim=0)
