"""The one fit loop: epochs of steps, validation, best-so-far, stopping early, and going on after an interruption.

All randomness of an epoch comes from stateless keys, so what an unfinished fit has to keep is the number of epochs
done beside weights, optimiser and best-so-far; the learning rate is a function of the step and needs no state.
"""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from epsam.checkpoints import load_plain, save_plain
from epsam.errors import TrainingError
from epsam.randomness import seed_for

log = logging.getLogger(__name__)


class Batch(Protocol):
    """What a step works on; only the names are of interest here."""

    @property
    def names(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Schedule:
    """How long to fit and what to watch; `patience` 0: never stop early; `monitor` '': keep the last epoch."""

    epochs: int
    patience: int
    monitor: str
    higher_is_better: bool
    rate: Callable[[int, int], float]
    """(step, steps of an epoch) → factor of the learning rate."""


@dataclass
class Task:
    """A network to fit: its name, trained part, optimiser, batches by epoch, loss and validation figures."""

    name: str
    seed: int
    model: nn.Module
    optimiser: torch.optim.Optimizer
    batches: Callable[[int], Iterable[Any]]
    loss: Callable[[Any, int], Tensor]
    """(batch, epoch) → scalar"""
    validate: Callable[[], dict[str, float]]
    steps: int


@dataclass
class Progress:
    """Where a fit stands after `epoch` epochs; `history` has a row (epoch, name, value) for each figure."""

    epoch: int = 0
    best_epoch: int = 0
    best_value: float = math.nan
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[tuple[int, str, float]] = field(default_factory=list)


def fit(task: Task, schedule: Schedule, checkpoint: Path) -> Progress:
    """Fit until the schedule ends and leave the best epoch's weights in `task.model`.

    `checkpoint` is written after each epoch; if it is there at the start, the fit goes on from it.
    Raises TrainingError at a loss that is not a number.
    """
    progress = _resume(task, checkpoint)
    while progress.epoch < schedule.epochs and not _out_of_patience(progress, schedule):
        figures = _train_epoch(task, schedule, progress.epoch)
        figures.update(task.validate())
        progress.epoch += 1
        progress.history += [(progress.epoch, name, value) for name, value in figures.items()]
        _keep_best(task, schedule, progress, figures)
        _report(task, schedule, progress, figures)
        _save(task, progress, checkpoint)
    if progress.best_weights:
        task.model.load_state_dict(progress.best_weights)
    return progress


def _train_epoch(task: Task, schedule: Schedule, epoch: int) -> dict[str, float]:
    task.model.train()
    base = [group.setdefault("base_lr", group["lr"]) for group in task.optimiser.param_groups]
    total, count, waited, started = 0.0, 0, 0.0, time.perf_counter()
    asked = started
    bar = tqdm(task.batches(epoch), total=task.steps, desc=f"{task.name} {epoch + 1}/{schedule.epochs}",
               disable=None, leave=False)
    for step, batch in enumerate(bar):
        waited += time.perf_counter() - asked
        for group, rate in zip(task.optimiser.param_groups, base, strict=True):
            group["lr"] = rate * schedule.rate(epoch * task.steps + step, task.steps)
        torch.manual_seed(seed_for(task.seed, task.name, "step", epoch, step))
        total += _step(task, batch, epoch) * len(batch.names)
        count += len(batch.names)
        bar.set_postfix(loss=f"{total / count:.4f}")
        asked = time.perf_counter()
    seconds = time.perf_counter() - started
    return {"train_loss": total / max(count, 1), "seconds": seconds, "data_wait_share": waited / max(seconds, 1e-9)}


def _step(task: Task, batch: Batch, epoch: int) -> float:
    task.optimiser.zero_grad(set_to_none=True)
    loss = task.loss(batch, epoch)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TrainingError(f"{task.name}: loss is {value} on patches {', '.join(batch.names)}; "
                            "look at them, or lower --lr")
    loss.backward()  # type: ignore[no-untyped-call]
    task.optimiser.step()
    return value


def _keep_best(task: Task, schedule: Schedule, progress: Progress, figures: dict[str, float]) -> None:
    value = figures.get(schedule.monitor, math.nan)
    sign = 1.0 if schedule.higher_is_better else -1.0
    first = not progress.best_weights
    if first or math.isnan(value) or sign * value > sign * progress.best_value or math.isnan(progress.best_value):
        # Without a figure to compare, the newest epoch is the best known.
        progress.best_epoch, progress.best_value = progress.epoch, value
        progress.best_weights = copy.deepcopy(task.model.state_dict())


def _out_of_patience(progress: Progress, schedule: Schedule) -> bool:
    return bool(schedule.patience) and progress.epoch - progress.best_epoch >= schedule.patience


def _report(task: Task, schedule: Schedule, progress: Progress, figures: dict[str, float]) -> None:
    shown = "  ".join(f"{name} {value:.4f}" for name, value in figures.items() if name not in ("seconds",))
    watched = f"  best {schedule.monitor} {progress.best_value:.4f} in epoch {progress.best_epoch}"
    log.info("%s  epoch %d/%d  %s%s  %.0f s", task.name, progress.epoch, schedule.epochs, shown,
             watched if schedule.monitor else "", figures["seconds"])


def _save(task: Task, progress: Progress, checkpoint: Path) -> None:
    save_plain(checkpoint, {
        "epoch": progress.epoch,
        "best_epoch": progress.best_epoch,
        "best_value": progress.best_value,
        "best_weights": progress.best_weights,
        "history": [list(row) for row in progress.history],
        "model": task.model.state_dict(),
        "optimiser": task.optimiser.state_dict(),
    })


def _resume(task: Task, checkpoint: Path) -> Progress:
    if not checkpoint.is_file():
        return Progress()
    kept = load_plain(checkpoint)
    task.model.load_state_dict(kept["model"])
    task.optimiser.load_state_dict(kept["optimiser"])
    log.info("%s: going on after epoch %d", task.name, kept["epoch"])
    history = [(int(epoch), str(name), float(value)) for epoch, name, value in kept["history"]]
    return Progress(kept["epoch"], kept["best_epoch"], kept["best_value"], kept["best_weights"], history)
