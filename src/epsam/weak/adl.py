"""The attention-based dropout layer (ADL): hides the most active regions in training, so that the
network learns to use the others too.
"""

import torch
from torch import Tensor, nn


class AttentionDropout(nn.Module):
    """ADL on features (B, C, h, w). In evaluation it is the identity, and where `set_adl_active`
    has switched it off.

    In training it multiplies the features by one of two maps, both from the attention, the mean
    over channels. The drop map (paper Eq. 1) is 0 where attention exceeds `threshold` times the
    sample's largest attention, else 1. The importance map is the sigmoid of attention. As in the
    original ADL, one of the two is chosen for each layer and batch (docs/deviations.md, "ADL's
    draw" and "ADL's threshold at equality").

    drop_rate: probability of the drop map. threshold: fraction of the largest attention, in [0, 1].
    """

    def __init__(self, drop_rate: float = 0.75, threshold: float = 0.8) -> None:
        super().__init__()
        self.drop_rate = drop_rate
        self.threshold = threshold
        self.is_active = True

    def forward(self, features: Tensor) -> Tensor:
        if not (self.training and self.is_active):
            return features
        attention = features.mean(dim=1, keepdim=True)
        # Drawn on the CPU: the choice is the same on every device, and nothing waits for the GPU.
        if torch.rand(()).item() < self.drop_rate:
            return features * self.drop_map(attention)
        return features * attention.sigmoid()

    def drop_map(self, attention: Tensor) -> Tensor:
        """The drop map (B, 1, h, w): 1 where attention (B, 1, h, w) is at most the sample's limit,
        else 0.
        """
        # "At most" also covers a sample without positive attention: with a factor in [0, 1], its
        # limit is not below its largest value, and nothing is dropped.
        limit = self.threshold * attention.amax(dim=(-2, -1), keepdim=True)
        return (attention <= limit).to(attention.dtype)

    def extra_repr(self) -> str:
        return f"drop_rate={self.drop_rate}, threshold={self.threshold}"


def set_adl_active(model: nn.Module, is_active: bool) -> None:
    """Switch all ADLs of a network on or off; a network without any stays as it is."""
    for module in model.modules():
        if isinstance(module, AttentionDropout):
            module.is_active = is_active
