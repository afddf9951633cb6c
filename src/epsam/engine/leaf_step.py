"""A step of training whose result does not depend on the number of processes (see
`epsam.core.leaves`).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from epsam.core.distributed import gather_objects
from epsam.core.errors import TrainingError
from epsam.core.leaves import BatchCut, sum_over_leaves
from epsam.engine.leaf_batch_norm import find_batch_norms, normalise_leaves
from epsam.engine.leaf_turns import LeafTurns
from epsam.engine.task import Task

BUCKET = 2**22
"""This project: numbers of a gradient that are gathered at a time, 16 MiB for each process."""


@dataclass(frozen=True)
class LeafBatch:
    """The leaves of a batch that this process computes, each a batch of its own."""

    cut: BatchCut
    leaves: Sequence[Any]

    @property
    def names(self) -> list[str]:
        """The patches of this process."""
        names: list[str] = []
        for leaf in self.leaves:
            names += leaf.names
        return names


def group_leaves(
    cuts: Sequence[tuple[BatchCut, Sequence[Any]]], leaves: Iterator[Any]
) -> Iterator[LeafBatch]:
    """The batches of an epoch, given the leaves of all of them one after another."""
    for cut, leaves_of_batch in cuts:
        yield LeafBatch(cut, [next(leaves) for _ in leaves_of_batch])


def leaf_step(task: Task, batch: LeafBatch, epoch: int) -> float:
    """Do a step of the optimiser and return the mean loss of the whole batch.

    Every leaf starts from torch's present random state, so that what is drawn for a batch, such as
    ADL's map, is the same in all of them. Raises TrainingError if the loss is not finite.
    """
    norms = find_batch_norms(task.model)
    parameters = [p for p in task.model.parameters() if p.requires_grad]
    compute = _compute_together if norms else _compute_one_by_one
    losses, gradients = compute(task, batch, epoch, parameters)

    value = float(sum_over_leaves(losses, batch.cut)) / batch.cut.n_patches
    if not math.isfinite(value):
        names = sorted({name for part in gather_objects(batch.names) for name in part})
        raise TrainingError(
            f"{task.name}: loss is {value} on patches {', '.join(names)}; "
            "look at them, or lower --lr"
        )
    set_gradients(parameters, gradients, batch.cut)
    task.apply_gradients()
    return value


Gradients = list[list[Tensor | None]]
"""Of each leaf, the gradient of each parameter."""


def _compute_one_by_one(
    task: Task, batch: LeafBatch, epoch: int, parameters: Sequence[nn.Parameter]
) -> tuple[list[Tensor], Gradients]:
    """The loss, summed over its patches, and the gradients of each leaf."""
    random = _RandomState(parameters)
    losses: list[Tensor] = []
    gradients: Gradients = []
    for leaf in batch.leaves:
        random.restore()
        task.optimiser.zero_grad(set_to_none=True)
        loss = task.loss(leaf, epoch).sum()
        scaled = task.scaler.scale(loss / batch.cut.n_patches)
        scaled.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
        gradients.append([parameter.grad for parameter in parameters])
    return losses, gradients


def _compute_together(
    task: Task, batch: LeafBatch, epoch: int, parameters: Sequence[nn.Parameter]
) -> tuple[list[Tensor], Gradients]:
    """The same for a network with batch norm, where the leaves depend on each other."""
    weights = _LeafWeights(task.model, len(batch.leaves))
    states = [_RandomState(parameters) for _ in batch.leaves]

    def before_turn(number: int) -> None:
        weights.put_into_model(number)
        states[number].restore()

    turns = LeafTurns(before_turn, lambda number: states[number].save())

    token = torch.zeros((), dtype=torch.float64, device=parameters[0].device, requires_grad=True)

    def normalise(module: Any, images: list[Tensor]) -> list[Tensor]:
        nonlocal token
        of_module = weights.of_module(module)
        normalised, token = normalise_leaves(module, images, of_module, token, batch.cut)
        return normalised

    with weights.replaced(), _batch_norms_wait(task.model, turns):
        losses = turns.run([partial(task.loss, leaf, epoch) for leaf in batch.leaves], normalise)

    sums = [loss.sum() for loss in losses]
    # The token is 0.
    scaled = task.scaler.scale(torch.stack(sums).sum() / batch.cut.n_patches + token)
    scaled.backward()  # type: ignore[no-untyped-call]
    return [total.detach() for total in sums], weights.gradients(parameters)


def set_gradients(parameters: Sequence[nn.Parameter], gradients: Gradients, cut: BatchCut) -> None:
    """Set each parameter's gradient to the sum over all leaves; None where no leaf has one."""
    first = parameters[0]
    flags = []
    for of_leaf in gradients:
        has_gradient = [float(gradient is not None) for gradient in of_leaf]
        flags.append(torch.tensor(has_gradient, device=first.device))
    reached = (sum_over_leaves(flags, cut) > 0).tolist()

    for bucket in _buckets(parameters):
        vectors = []
        for of_leaf in gradients:
            parts = [_flat_gradient(of_leaf[index], parameters[index]) for index in bucket]
            vectors.append(torch.cat(parts))
        total = sum_over_leaves(vectors, cut)
        sizes = [parameters[index].numel() for index in bucket]
        for index, values in zip(bucket, torch.split(total, sizes), strict=True):
            parameter = parameters[index]
            shaped = torch.empty_like(parameter).copy_(values.view(parameter.shape))
            parameter.grad = shaped if reached[index] else None


def _flat_gradient(gradient: Tensor | None, parameter: nn.Parameter) -> Tensor:
    if gradient is None:
        return parameter.new_zeros(parameter.numel())
    return gradient.reshape(-1)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[int]]:
    """Neighbouring parameters by their index, about `BUCKET` numbers at a time."""
    bucket: list[int] = []
    size = 0
    for index, parameter in enumerate(parameters):
        bucket.append(index)
        size += parameter.numel()
        if size >= BUCKET:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


class _RandomState:
    """torch's random state, on the CPU and on the device of the parameters."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        device = parameters[0].device
        self._gpu = device if device.type == "cuda" else None
        self.save()

    def save(self) -> None:
        self._cpu_state = torch.get_rng_state()
        self._gpu_state = torch.cuda.get_rng_state(self._gpu) if self._gpu else None

    def restore(self) -> None:
        torch.set_rng_state(self._cpu_state)
        if self._gpu and self._gpu_state is not None:
            torch.cuda.set_rng_state(self._gpu_state, self._gpu)


class _LeafWeights:
    """A network's parameters once for each leaf: they share their memory, and each has a gradient
    of its own.
    """

    def __init__(self, model: nn.Module, n_leaves: int) -> None:
        self._original: list[tuple[nn.Module, str, nn.Parameter]] = []
        self._copies: list[dict[nn.Parameter, Tensor]] = [{} for _ in range(n_leaves)]
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                self._original.append((module, name, parameter))
                for copies in self._copies:
                    shared = parameter.detach().requires_grad_(parameter.requires_grad)
                    copies.setdefault(parameter, shared)

    def put_into_model(self, leaf: int) -> None:
        """Let the network compute with the parameters of a leaf."""
        copies = self._copies[leaf]
        for module, name, parameter in self._original:
            module._parameters[name] = copies[parameter]  # type: ignore[assignment]

    @contextmanager
    def replaced(self) -> Iterator[None]:
        """At the end of the block the network has its original parameters."""
        try:
            yield
        finally:
            for module, name, parameter in self._original:
                module._parameters[name] = parameter

    def of_module(self, module: nn.Module) -> list[tuple[Tensor, Tensor]]:
        """(weight, bias) of a batch norm for each leaf."""
        by_name = {name: p for owner, name, p in self._original if owner is module}
        return [(copies[by_name["weight"]], copies[by_name["bias"]]) for copies in self._copies]

    def gradients(self, parameters: Sequence[nn.Parameter]) -> Gradients:
        """Of each leaf, the gradient of each parameter."""
        gradients: Gradients = []
        for copies in self._copies:
            gradients.append([copies[parameter].grad for parameter in parameters])
        return gradients


@contextmanager
def _batch_norms_wait(model: nn.Module, turns: LeafTurns) -> Iterator[None]:
    """While the block runs, the network's batch norms wait for all leaves."""
    norms = find_batch_norms(model)
    for norm in norms:
        norm.forward = partial(turns.wait_for_others, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward
