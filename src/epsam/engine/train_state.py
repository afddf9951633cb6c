"""The state of a fit, and the checkpoint from which an interrupted fit resumes."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from epsam.core.checkpoints import check_fit, load_plain, save_plain
from epsam.engine.metric_logger import Scalar


class Stateful(Protocol):
    """A network, an optimiser or a gradient scaler."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


@dataclass
class EpochTotals:
    """Sums over the first `step` steps of an epoch.

    loss: of all patches. seconds: in all; waited: of these, waiting for data.
    """

    step: int = 0
    loss: float = 0.0
    patches: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def metrics(self) -> dict[str, float]:
        """Mean training loss of the epoch, its seconds, and the fraction of them spent waiting."""
        return {
            "train_loss": self.loss / max(self.patches, 1),
            "seconds": self.seconds,
            "data_wait_share": self.waited / max(self.seconds, 1e-9),
        }


@dataclass
class TrainState:
    """How far a fit is: `epoch` epochs are done, and `epoch_totals.step` steps of the next.

    history: a row (epoch, name, value) for each metric.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_value: float = math.nan
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[Scalar] = field(default_factory=list)
    epoch_totals: EpochTotals = field(default_factory=EpochTotals)


def save_train_state(path: Path, state: TrainState, parts: Mapping[str, Stateful]) -> None:
    """Write a fit's state and the state dicts of its parts (model, optimiser, scaler)."""
    content: dict[str, Any] = {
        "epoch": state.epoch,
        "best_epoch": state.best_epoch,
        "best_value": state.best_value,
        "best_weights": state.best_weights,
        "history": [list(row) for row in state.history],
        "running": asdict(state.epoch_totals),
    }
    for name, part in parts.items():
        content[name] = part.state_dict()
    save_plain(path, content)


def load_train_state(path: Path, task: str, parts: Mapping[str, Stateful]) -> TrainState:
    """Read a fit's state and load the state dicts into its parts.

    Raises WeightsError if the file is damaged, and errors of many kinds, with parts half loaded, if
    it was not written by `save_train_state`.
    """
    content = load_plain(path)
    for weights in (content["model"], content["best_weights"]):
        if weights:
            check_fit(path, task, weights, parts["model"].state_dict())
    for name, part in parts.items():
        part.load_state_dict(content[name])
    history = [(int(epoch), str(name), float(value)) for epoch, name, value in content["history"]]
    return TrainState(
        int(content["epoch"]),
        int(content["best_epoch"]),
        float(content["best_value"]),
        content["best_weights"],
        history,
        EpochTotals(**content["running"]),
    )
