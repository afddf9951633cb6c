"""Batch norm over all leaves of a batch, in whichever processes they are: the statistics are those
of the whole batch, with the same bits everywhere.

torch's SyncBatchNorm has no CPU, and adds the sums of processes in an order that depends on how
many there are.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from epsam.core.errors import TrainingError
from epsam.core.leaves import BatchCut, sum_over_leaves


def find_batch_norms(model: torch.nn.Module) -> list[_BatchNorm]:
    """The batch norms whose statistics are those of the batch in training.

    Raises TrainingError for one that cannot be computed over leaves.
    """
    norms = []
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.training:
            if not (module.affine and module.track_running_stats and module.momentum):
                raise TrainingError(
                    f"--leaves: batch norm {name} has no weights, no running statistics or no "
                    "momentum; train with --leaves 0 in one process"
                )
            norms.append(module)
    return norms


def normalise_leaves(
    module: Any,
    images: Sequence[Tensor],
    weights: Sequence[tuple[Tensor, Tensor]],
    token: Tensor,
    cut: BatchCut,
) -> tuple[list[Tensor], Tensor]:
    """The leaves (b, C, …) that this process computes, normalised by the whole batch's statistics,
    and a token, which is 0, for the next batch norm.

    weights: (weight, bias) of each leaf, which share their memory. The module's running statistics
    follow. token: of the batch norm before. It is part of the graph, so that gradients come to the
    batch norms in the same order in every process.
    """
    tensors = [*images]
    for pair in weights:
        tensors += pair
    outputs = _LeafBatchNorm.apply(cut, module.eps, token, *tensors)
    *normalised, next_token, mean, variance, count = outputs
    with torch.no_grad():
        # torch, too, keeps the variance of a sample, not that of the batch.
        sample_variance = variance * (count / (count - 1).clamp(min=1))
        module.running_mean.lerp_(mean.to(module.running_mean), module.momentum)
        module.running_var.lerp_(sample_variance.to(module.running_var), module.momentum)
        module.num_batches_tracked.add_(1)
    return normalised, next_token


class _LeafBatchNorm(torch.autograd.Function):
    """One function of all leaves, as their gradients depend on each other."""

    @staticmethod
    def forward(
        ctx: Any, cut: BatchCut, eps: float, token: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        leaves, weights, biases = _split(tensors)
        kind = weights[0].dtype
        sums = [torch.cat([_sum(leaf.to(kind)).double(), _count(leaf)]) for leaf in leaves]
        total = sum_over_leaves(sums, cut)
        count = total[-1]
        mean = total[:-1] / count

        # Deviations from the mean of the whole batch, not a difference of squares: that would lose
        # the digits of a variance that is small beside the mean.
        deviations = [leaf.to(kind) - _per_channel(mean.to(kind), leaf) for leaf in leaves]
        squares = [_sum(deviation * deviation).double() for deviation in deviations]
        variance = sum_over_leaves(squares, cut) / count

        scale = (variance + eps).rsqrt().to(kind)
        normalised = [d * _per_channel(scale, d) for d in deviations]
        ctx.cut = cut
        ctx.kinds = [leaf.dtype for leaf in leaves]
        ctx.save_for_backward(scale, weights[0], count, *normalised)
        ctx.mark_non_differentiable(mean, variance, count)
        results = []
        for leaf, values in zip(leaves, normalised, strict=True):
            weighted = values * _per_channel(weights[0], leaf) + _per_channel(biases[0], leaf)
            results.append(weighted.to(leaf.dtype))
        return *results, token.clone(), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scale, weight, count, *normalised = ctx.saved_tensors
        gradients = gradients[: len(normalised)]
        of_leaves, of_weights, of_biases = [], [], []
        for gradient, values in zip(gradients, normalised, strict=True):
            of_weights.append(_sum(gradient * values))
            of_biases.append(_sum(gradient.to(values.dtype)))
        n_channels = len(scale)
        pairs = zip(of_biases, of_weights, strict=True)
        total = sum_over_leaves([torch.cat(pair).double() for pair in pairs], ctx.cut)
        mean_gradient = (total[:n_channels] / count).to(scale.dtype)
        mean_product = (total[n_channels:] / count).to(scale.dtype)

        for gradient, values, kind in zip(gradients, normalised, ctx.kinds, strict=True):
            centred = gradient - _per_channel(mean_gradient, values)
            centred = centred - values * _per_channel(mean_product, values)
            of_leaves.append((centred * _per_channel(weight * scale, values)).to(kind))
        return None, None, torch.zeros_like(count), *of_leaves, *_interleave(of_weights, of_biases)


def _split(tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Leaves, weights and biases from leaves followed by a weight and a bias of each."""
    n_leaves = len(tensors) // 3
    pairs = tensors[n_leaves:]
    return list(tensors[:n_leaves]), list(pairs[::2]), list(pairs[1::2])


def _interleave(weights: Sequence[Tensor], biases: Sequence[Tensor]) -> list[Tensor]:
    tensors: list[Tensor] = []
    for pair in zip(weights, biases, strict=True):
        tensors += pair
    return tensors


def _sum(values: Tensor) -> Tensor:
    """The sum of each channel, (C,), of values (b, C, …)."""
    return values.sum(dim=[axis for axis in range(values.dim()) if axis != 1])


def _count(values: Tensor) -> Tensor:
    """How many values a channel has, (1,)."""
    count = values.numel() // values.shape[1]
    return torch.tensor([count], dtype=torch.float64, device=values.device)


def _per_channel(vector: Tensor, like: Tensor) -> Tensor:
    """A vector (C,) in the shape of images (b, C, …)."""
    return vector.view(1, -1, *[1] * (like.dim() - 2))
