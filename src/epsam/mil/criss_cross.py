"""Criss-cross attention (Huang et al., CCNet, ICCV 2019) of SA-MIL: a pixel attends to its row and
its column.
"""

import torch
from torch import Tensor, nn

REDUCTION = 8
"""SA-MIL: queries and keys have this fraction of the features' channels."""
PASSES = 2
"""SA-MIL: after two passes, a pixel has seen all others over the crossings of rows and columns."""


class CrissCrossAttention(nn.Module):
    """Features (B, C, H, W) → features of the same shape; at the start, of the same values."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // REDUCTION, kernel_size=1)
        self.key = nn.Conv2d(channels, channels // REDUCTION, kernel_size=1)
        self.value = nn.Conv2d(channels, channels, kernel_size=1)
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor) -> Tensor:
        """The features after `PASSES` passes with the same weights."""
        for _ in range(PASSES):
            features = self.attend(features)
        return features

    def attend(self, features: Tensor) -> Tensor:
        """One pass: features + scale · the mean of the values in row and column, by attention."""
        attended = criss_cross(self.query(features), self.key(features), self.value(features))
        return self.scale * attended + features


def criss_cross(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The values (B, C, H, W) of each pixel's row and column, weighted by the softmax of query ·
    key over these H + W - 1 pixels; query and key are (B, K, H, W).
    """
    height = query.shape[-2]
    along_column = torch.einsum("bkiw,bkjw->biwj", query, key)
    along_row = torch.einsum("bkhi,bkhj->bhij", query, key)

    # The pixel is in its column and in its row; it counts once, with its row.
    itself = torch.eye(height, dtype=torch.bool, device=query.device)[:, None, :]
    along_column = along_column.masked_fill(itself, float("-inf"))

    # Over row and column together (docs/deviations.md, "Methods of multiple-instance learning").
    weights = torch.cat([along_column, along_row], dim=-1).softmax(dim=-1)
    weights = weights.to(value.dtype)
    of_column, of_row = weights[..., :height], weights[..., height:]
    from_column = torch.einsum("biwj,bcjw->bciw", of_column, value)
    from_row = torch.einsum("bhij,bchj->bchi", of_row, value)
    return from_column + from_row
