"""The gate: what the classifier does not see in a patch, the segmenter does not outline there."""

import torch
from torch import Tensor

LEAST_PROBABILITY = 0.1


def gate_classes(probabilities: Tensor, class_logits: Tensor) -> Tensor:
    """Tumour probabilities (B, h, w) behind the gate.

    class_logits (B, 2): the classifier's, of tumour and normal tissue. A class whose probability is
    not above LEAST_PROBABILITY loses its pixels to the other one; if neither is, all stays. (The
    published code multiplies the logit of such a class by 0, which may raise it.)
    """
    is_seen = class_logits.sigmoid() > LEAST_PROBABILITY
    only_normal = (is_seen[:, 1] & ~is_seen[:, 0])[:, None, None]
    only_tumour = (is_seen[:, 0] & ~is_seen[:, 1])[:, None, None]
    gated = torch.where(only_normal, 0.0, probabilities)
    return torch.where(only_tumour, 1.0, gated)
