"""The attention-based dropout layer (ADL): hides the most active regions so that the network uses
the others too.
"""

import torch
from torch import Tensor, nn


class AttentionDropout(nn.Module):
    """ADL on features (B, C, h, w): in training either a drop or an importance map, in evaluation
    the identity.

    Attention is the mean over channels. Paper Eq. 1: the drop map is 0 where attention exceeds
    `threshold` times the largest attention of the sample, else 1; the importance map is the sigmoid
    of attention. The published code draws once a layer and batch which of the two is used, as the
    original ADL does (methods D13, D14).

    drop_rate: probability of the drop map. threshold: share of the largest attention, in [0, 1].
    """

    def __init__(self, drop_rate: float = 0.75, threshold: float = 0.8) -> None:
        super().__init__()
        self.drop_rate = drop_rate
        self.threshold = threshold

    def forward(self, features: Tensor) -> Tensor:
        if not self.training:
            return features
        attention = features.mean(dim=1, keepdim=True)
        # Drawn on the CPU: the same choice on every device, and no waiting for the GPU.
        if torch.rand(()).item() < self.drop_rate:
            return features * self.drop_map(attention)
        return features * attention.sigmoid()

    def drop_map(self, attention: Tensor) -> Tensor:
        """1 where attention (B, 1, h, w) is at most the sample's limit, else 0.

        Where the largest attention is 0 or less, the limit is not below it, so that nothing is
        dropped.
        """
        limit = self.threshold * attention.amax(dim=(-2, -1), keepdim=True)
        return (attention <= limit).to(attention.dtype)

    def extra_repr(self) -> str:
        return f"drop_rate={self.drop_rate}, threshold={self.threshold}"
