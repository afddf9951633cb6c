"""A network to fit, as the fit loop sees it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from epsam.engine.train_state import Stateful


class Batch(Protocol):
    """A batch of patches; the loop needs only their names."""

    @property
    def names(self) -> Sequence[str]: ...


@dataclass
class Task:
    """A network to fit: the trained module, its optimiser, batches, loss and validation metrics."""

    name: str
    seed: int
    model: nn.Module
    optimiser: torch.optim.Optimizer
    batches: Callable[[int, int], Iterable[Any]]
    """(epoch, first step) → the epoch's batches from that step on"""
    loss: Callable[[Any, int], Tensor]
    """(batch, epoch) → a value for each sample (B,); the loop takes the mean"""
    validate: Callable[[], dict[str, float]]
    steps: int
    scaler: torch.amp.GradScaler = field(
        default_factory=partial(torch.amp.GradScaler, enabled=False)
    )

    average: AveragedModel | None = None
    """the average of the model's weights over the steps, which is validated and kept instead"""

    @property
    def fitted(self) -> nn.Module:
        """The network that is validated and kept: the average if there is one, else the model."""
        fitted: nn.Module = self.model if self.average is None else self.average.module
        return fitted

    @property
    def parts(self) -> dict[str, Stateful]:
        """All that a checkpoint stores the state dict of."""
        parts: dict[str, Stateful] = {
            "model": self.model,
            "optimiser": self.optimiser,
            "scaler": self.scaler,
        }
        if self.average is not None:
            parts["average"] = self.average
        return parts

    def apply_gradients(self) -> None:
        """Do the optimiser's step with the gradients that the parameters have."""
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)
