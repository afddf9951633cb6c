"""The one fit loop: epochs of steps, validation, best-so-far, stopping early, and going on after an
interruption.

All randomness comes from stateless keys and the learning rate is a function of the step, so what an
unfinished fit has to keep is two integers (epoch, step) beside weights, optimiser, best-so-far and
the sums over the epoch's steps.
"""

import copy
import logging
import math
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from epsam.core.checkpoints import check_fit, load_plain, save_plain
from epsam.core.errors import TrainingError, WeightsError
from epsam.core.seeding import seed_for
from epsam.core.signals import StopRequests
from epsam.engine.metric_logger import NULL_LOGGER, MetricLogger, Scalar

log = logging.getLogger(__name__)

SAVE_EVERY_S = 300.0
"""Ours: what a power cut costs at most, beside a validation."""


class Batch(Protocol):
    """What a step works on; only the names are of interest here."""

    @property
    def names(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class FitSchedule:
    """How long to fit and what to watch; `patience` 0: never stop early; `monitor` '': keep the
    last epoch.
    """

    epochs: int
    patience: int
    monitor: str
    higher_is_better: bool
    lr_factor: Callable[[int, int], float]
    """(step, steps of an epoch) → factor of the learning rate."""


@dataclass
class Task:
    """A network to fit: its name, trained part, optimiser, batches by epoch, loss and validation
    figures.
    """

    name: str
    seed: int
    model: nn.Module
    optimiser: torch.optim.Optimizer
    batches: Callable[[int, int], Iterable[Any]]
    """(epoch, first step) → the epoch's batches from that step on"""
    loss: Callable[[Any, int], Tensor]
    """(batch, epoch) → scalar"""
    validate: Callable[[], dict[str, float]]
    steps: int
    scaler: torch.amp.GradScaler = field(
        default_factory=partial(torch.amp.GradScaler, enabled=False)
    )


@dataclass
class EpochTotals:
    """Sums over the `step` steps done of an epoch: loss × patches, patches, and seconds in all and
    waiting for data.
    """

    step: int = 0
    loss: float = 0.0
    patches: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def metrics(self) -> dict[str, float]:
        return {
            "train_loss": self.loss / max(self.patches, 1),
            "seconds": self.seconds,
            "data_wait_share": self.waited / max(self.seconds, 1e-9),
        }


@dataclass
class TrainState:
    """Where a fit stands: `epoch` epochs and, of the next one, `running.step` steps are done.

    `history` has a row (epoch, name, value) for each figure.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_value: float = math.nan
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[Scalar] = field(default_factory=list)
    epoch_totals: EpochTotals = field(default_factory=EpochTotals)


def fit(
    task: Task,
    schedule: FitSchedule,
    checkpoint: Path,
    save_every_s: float = SAVE_EVERY_S,
    metric_logger: MetricLogger = NULL_LOGGER,
) -> TrainState:
    """Fit until the schedule ends and leave the best epoch's weights in `task.model`.

    `checkpoint` is written after each epoch and, within one, every `save_every_s`; if it is there
    at the start, the fit goes on from it and ends with the same bits. The `board` is told all
    figures so far at the start, and then those of each epoch. Raises TrainingError at a loss that
    is not a number, and KeyboardInterrupt, with everything saved, when the process is asked to
    stop.
    """
    progress = _resume(task, checkpoint)
    metric_logger.log_scalars(progress.history)
    while progress.epoch < schedule.epochs and not _out_of_patience(progress, schedule):
        _train_epoch(task, schedule, progress, checkpoint, save_every_s)
        try:
            figures = {**progress.epoch_totals.metrics(), **task.validate()}
        except KeyboardInterrupt:
            _save(task, progress, checkpoint)
            raise
        progress.epoch, progress.epoch_totals = progress.epoch + 1, EpochTotals()
        progress.history += [(progress.epoch, name, value) for name, value in figures.items()]
        _keep_best(task, schedule, progress, figures)
        _report(task, schedule, progress, figures)
        _save(task, progress, checkpoint)
        metric_logger.log_scalars(progress.history)
    if progress.best_weights:
        task.model.load_state_dict(progress.best_weights)
    return progress


def _train_epoch(
    task: Task, schedule: FitSchedule, progress: TrainState, checkpoint: Path, save_every_s: float
) -> None:
    """Do the steps of an epoch that are left; between two of them, and only there, is state
    saved.
    """
    task.model.train()
    running, saved = progress.epoch_totals, time.monotonic()
    # Closed at the end whatever happens, since that is what ends the processes that load patches.
    with (
        closing(_timed(task.batches(progress.epoch, running.step), running)) as batches,
        StopRequests() as stop,
    ):
        bar = tqdm(
            batches,
            total=task.steps,
            initial=running.step,
            disable=None,
            leave=False,
            desc=f"{task.name} {progress.epoch + 1}/{schedule.epochs}",
        )
        for batch in bar:
            _set_rate(task, schedule, progress)
            torch.manual_seed(seed_for(task.seed, task.name, "step", progress.epoch, running.step))
            running.loss += _step(task, batch, progress.epoch) * len(batch.names)
            running.patches += len(batch.names)
            running.step += 1
            bar.set_postfix(loss=f"{running.loss / running.patches:.4f}")
            if stop.requested or time.monotonic() - saved >= save_every_s:
                _save(task, progress, checkpoint)
                saved = time.monotonic()
            if stop.requested:
                log.info(
                    "%s: stopped in epoch %d after step %d of %d, all saved",
                    task.name,
                    progress.epoch + 1,
                    running.step,
                    task.steps,
                )
                raise KeyboardInterrupt


def _timed(batches: Iterable[Any], running: EpochTotals) -> Generator[Any, None, None]:
    """The batches, adding up the seconds spent waiting for them and the seconds in all."""
    asked = time.perf_counter()
    for batch in batches:
        running.waited += time.perf_counter() - asked
        yield batch
        running.seconds += time.perf_counter() - asked
        asked = time.perf_counter()


def _set_rate(task: Task, schedule: FitSchedule, progress: TrainState) -> None:
    factor = schedule.lr_factor(
        progress.epoch * task.steps + progress.epoch_totals.step, task.steps
    )
    for group in task.optimiser.param_groups:
        group["lr"] = group.setdefault("base_lr", group["lr"]) * factor


def _step(task: Task, batch: Batch, epoch: int) -> float:
    task.optimiser.zero_grad(set_to_none=True)
    loss = task.loss(batch, epoch)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TrainingError(
            f"{task.name}: loss is {value} on patches {', '.join(batch.names)}; "
            "look at them, or lower --lr"
        )
    task.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    task.scaler.step(task.optimiser)
    task.scaler.update()
    return value


def _keep_best(
    task: Task, schedule: FitSchedule, progress: TrainState, figures: dict[str, float]
) -> None:
    value = figures.get(schedule.monitor, math.nan)
    sign = 1.0 if schedule.higher_is_better else -1.0
    first = not progress.best_weights
    if (
        first
        or math.isnan(value)
        or sign * value > sign * progress.best_value
        or math.isnan(progress.best_value)
    ):
        # Without a figure to compare, the newest epoch is the best known.
        progress.best_epoch, progress.best_value = progress.epoch, value
        progress.best_weights = copy.deepcopy(task.model.state_dict())


def _out_of_patience(progress: TrainState, schedule: FitSchedule) -> bool:
    return bool(schedule.patience) and progress.epoch - progress.best_epoch >= schedule.patience


def _report(
    task: Task, schedule: FitSchedule, progress: TrainState, figures: dict[str, float]
) -> None:
    shown = "  ".join(
        f"{name} {value:.4f}" for name, value in figures.items() if name not in ("seconds",)
    )
    watched = f"  best {schedule.monitor} {progress.best_value:.4f} in epoch {progress.best_epoch}"
    log.info(
        "%s  epoch %d/%d  %s%s  %.0f s",
        task.name,
        progress.epoch,
        schedule.epochs,
        shown,
        watched if schedule.monitor else "",
        figures["seconds"],
    )


def _save(task: Task, progress: TrainState, checkpoint: Path) -> None:
    save_plain(
        checkpoint,
        {
            "epoch": progress.epoch,
            "best_epoch": progress.best_epoch,
            "best_value": progress.best_value,
            "best_weights": progress.best_weights,
            "history": [list(row) for row in progress.history],
            "running": asdict(progress.epoch_totals),
            "model": task.model.state_dict(),
            "optimiser": task.optimiser.state_dict(),
            "scaler": task.scaler.state_dict(),
        },
    )


def _resume(task: Task, checkpoint: Path) -> TrainState:
    if not checkpoint.is_file():
        return TrainState()
    weights, optimiser = copy.deepcopy((task.model.state_dict(), task.optimiser.state_dict()))
    try:
        progress = _restore(task, checkpoint)
    except (
        WeightsError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
    ) as error:
        log.warning("%s; %s begins again", _told(checkpoint, error), task.name)
        task.model.load_state_dict(weights)
        task.optimiser.load_state_dict(optimiser)
        return TrainState()
    log.info(
        "%s: going on after epoch %d, step %d of the next",
        task.name,
        progress.epoch,
        progress.epoch_totals.step,
    )
    return progress


def _restore(task: Task, checkpoint: Path) -> TrainState:
    """Raises WeightsError if the file is damaged, and whatever its content leads to if it is not
    what `_save` wrote.
    """
    kept = load_plain(checkpoint)
    for weights in filter(None, (kept["model"], kept["best_weights"])):
        check_fit(checkpoint, task.name, weights, task.model.state_dict())
    task.model.load_state_dict(kept["model"])
    task.optimiser.load_state_dict(kept["optimiser"])
    task.scaler.load_state_dict(kept["scaler"])
    history = [(int(epoch), str(name), float(value)) for epoch, name, value in kept["history"]]
    return TrainState(
        int(kept["epoch"]),
        int(kept["best_epoch"]),
        float(kept["best_value"]),
        kept["best_weights"],
        history,
        EpochTotals(**kept["running"]),
    )


def _told(checkpoint: Path, error: Exception) -> str:
    return (
        str(error)
        if isinstance(error, WeightsError)
        else f"{checkpoint}: not the progress of a fit ({error!r})"
    )
