"""Sub-class exploration (SCE, WeakMedSAM): tumour patches in clusters, which a second head of the
classifier learns to tell apart.

Told to find the clusters, too, a network cannot rest on what they have in common beside the tumour.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epsam.core.errors import TrainingError
from epsam.core.seeding import seed_for

NO_TUMOUR = 0
"""Sub-class of a negative patch; positives have 1 … k."""
STARTS = 10
"""This project: starts of k-means, of which the best is taken; its own default is 1."""


def cluster(
    names: Sequence[str], features: npt.NDArray[np.float32], count: int, seed: int
) -> dict[str, int]:
    """The sub-class, 1 to `count`, of each name, by k-means on its features (N, C).

    The order of the names plays no part; sub-classes are numbered by their first name.
    Raises TrainingError as `require_enough` does.
    """
    require_enough(len(names), count)
    # Imported here, since it takes a second that only this needs.
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    order = sorted(range(len(names)), key=lambda index: names[index])
    means = KMeans(count, n_init=STARTS, random_state=seed_for(seed, "sub-classes") % 2**32)
    # With several threads, sums are rounded in an order that differs from run to run.
    with threadpool_limits(1):
        clusters = means.fit_predict(features[order].astype(np.float64))

    numbers: dict[int, int] = {}
    subclasses = {}
    for index, label in zip(order, clusters.tolist(), strict=True):
        numbers.setdefault(label, len(numbers) + 1)
        subclasses[names[index]] = numbers[label]
    return subclasses


def require_enough(n_patches: int, count: int) -> None:
    """Raise TrainingError if there are fewer patches with tumour than sub-classes."""
    if n_patches < count:
        raise TrainingError(
            f"--subclasses {count}: only {n_patches} training patches with tumour; lower "
            "--subclasses, or add patches"
        )


def build_subclass_head(channels: int, count: int, seed: int) -> nn.Linear:
    """The second head: logits of `count` sub-classes and of no tumour, from pooled features."""
    head = nn.Linear(channels, count + 1, bias=False)
    random = torch.Generator().manual_seed(seed_for(seed, "sub-class head weights"))
    nn.init.normal_(head.weight, std=0.01, generator=random)
    return head


def subclass_loss(logits: Tensor, subclasses: Tensor) -> Tensor:
    """Cross-entropy (B,), the mean over k + 1 outputs, of logits (B, k + 1) and the sub-classes
    (B,) of the images, 0 … k.
    """
    targets = F.one_hot(subclasses, logits.shape[1]).float()
    losses = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
    return losses.mean(dim=1)
