"""The one fit loop: epochs of steps, validation, best epoch, early stopping, and resuming after an
interruption.

All randomness comes from stateless keys, and the learning rate is a function of the step. So beside
weights, optimiser, best weights and the sums over the epoch's steps, a checkpoint needs only two
integers: epoch and step.
"""

import copy
import logging
import math
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from epsam.core.distributed import is_main_process, is_true_of_any
from epsam.core.durations import format_duration
from epsam.core.errors import ProcessLostError, TrainingError, WeightsError
from epsam.core.progress import bar_is_off, time_left
from epsam.core.seeding import seed_for
from epsam.core.signals import StopRequests
from epsam.engine.leaf_step import LeafBatch, leaf_step
from epsam.engine.metric_logger import NULL_LOGGER, MetricLogger
from epsam.engine.task import Batch, Task
from epsam.engine.train_state import (
    EpochTotals,
    TrainState,
    load_train_state,
    save_train_state,
)

log = logging.getLogger(__name__)

SAVE_EVERY_S = 300.0
"""This project: the training time that a power cut costs at most, beside a validation."""


@dataclass(frozen=True)
class FitSchedule:
    """How long to fit and which metric to monitor.

    patience: epochs without improvement before stopping; 0: never. monitor "": the last epoch is
    the best.
    """

    epochs: int
    patience: int
    monitor: str
    higher_is_better: bool
    lr_factor: Callable[[int, int], float]
    """(step, steps of an epoch) → factor of the learning rate."""


def fit(
    task: Task,
    schedule: FitSchedule,
    checkpoint: Path,
    save_every_s: float = SAVE_EVERY_S,
    metric_logger: MetricLogger = NULL_LOGGER,
) -> TrainState:
    """Fit until the schedule ends and load the best epoch's weights into `task.model`.

    `checkpoint` is written after each epoch and, within one, every `save_every_s`. If it exists at
    the start, the fit resumes from it and ends with the same bits. `metric_logger` gets all metrics
    so far at the start, then those of each epoch. Raises TrainingError if the loss is not finite,
    and KeyboardInterrupt, with everything saved, on a request to stop.
    """
    state = _resume(task, checkpoint)
    started, first_epoch = time.monotonic(), state.epoch
    metric_logger.log_scalars(state.history)

    while state.epoch < schedule.epochs and not _is_out_of_patience(state, schedule):
        _train_epoch(task, schedule, state, checkpoint, save_every_s)
        try:
            metrics = {**state.epoch_totals.metrics(), **task.validate()}
        except (KeyboardInterrupt, ProcessLostError):
            # All steps of the epoch are done; a resumed fit goes straight to this validation.
            _save(checkpoint, state, task)
            raise

        state.epoch, state.epoch_totals = state.epoch + 1, EpochTotals()
        state.history += [(state.epoch, name, value) for name, value in metrics.items()]
        _update_best(task, schedule, state, metrics)
        seconds = time_left(
            time.monotonic() - started, state.epoch - first_epoch, schedule.epochs - first_epoch
        )
        _log_epoch(task, schedule, state, metrics, seconds)
        _save(checkpoint, state, task)
        metric_logger.log_scalars(state.history)

    if state.best_weights:
        task.model.load_state_dict(state.best_weights)
    return state


def _train_epoch(
    task: Task, schedule: FitSchedule, state: TrainState, checkpoint: Path, save_every_s: float
) -> None:
    """Do the remaining steps of an epoch; the state is saved between two steps and only there."""
    task.model.train()
    totals, saved = state.epoch_totals, time.monotonic()
    # Closed at the end whatever happens, since that ends the processes that load patches.
    with (
        closing(_timed(task.batches(state.epoch, totals.step), totals)) as batches,
        StopRequests() as stop,
    ):
        progress_bar = tqdm(
            batches,
            total=task.steps,
            initial=totals.step,
            disable=bar_is_off(),
            leave=False,
            desc=f"{task.name} {state.epoch + 1}/{schedule.epochs}",
        )
        for batch in progress_bar:
            _set_learning_rate(task, schedule, state)
            # Seeded by step, so that dropout after a resume is that of an uninterrupted fit.
            torch.manual_seed(seed_for(task.seed, task.name, "step", state.epoch, totals.step))
            step = leaf_step if isinstance(batch, LeafBatch) else _step
            n_patches = _count_patches(batch)
            totals.loss += step(task, batch, state.epoch) * n_patches
            totals.patches += n_patches
            totals.step += 1
            progress_bar.set_postfix(loss=f"{totals.loss / totals.patches:.4f}")

            # Whichever process gets the request: all stop after the same step.
            is_stopping = is_true_of_any(stop.requested)
            if is_stopping or time.monotonic() - saved >= save_every_s:
                _save(checkpoint, state, task)
                saved = time.monotonic()
            if is_stopping:
                log.info(
                    "%s: stopped in epoch %d after step %d of %d, all saved",
                    task.name,
                    state.epoch + 1,
                    totals.step,
                    task.steps,
                )
                raise KeyboardInterrupt


def _timed(batches: Iterable[Any], totals: EpochTotals) -> Generator[Any, None, None]:
    """The batches; adds the seconds waited for them, and the seconds in all, to the totals."""
    started = time.perf_counter()
    for batch in batches:
        totals.waited += time.perf_counter() - started
        yield batch
        totals.seconds += time.perf_counter() - started
        started = time.perf_counter()


def _save(checkpoint: Path, state: TrainState, task: Task) -> None:
    """Write the checkpoint; all processes have the same state, and the main one writes it."""
    if is_main_process():
        save_train_state(checkpoint, state, task.parts)


def _count_patches(batch: Batch) -> int:
    """The patches of a step, in all processes."""
    return batch.cut.n_patches if isinstance(batch, LeafBatch) else len(batch.names)


def _set_learning_rate(task: Task, schedule: FitSchedule, state: TrainState) -> None:
    step = state.epoch * task.steps + state.epoch_totals.step
    factor = schedule.lr_factor(step, task.steps)
    for group in task.optimiser.param_groups:
        # "base_lr" is part of the optimiser's state dict, so a resumed fit has it, too.
        group["lr"] = group.setdefault("base_lr", group["lr"]) * factor


def _step(task: Task, batch: Batch, epoch: int) -> float:
    task.optimiser.zero_grad(set_to_none=True)
    loss = task.loss(batch, epoch).mean()
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TrainingError(
            f"{task.name}: loss is {value} on patches {', '.join(batch.names)}; "
            "look at them, or lower --lr"
        )
    task.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    task.apply_gradients()
    return value


def _update_best(
    task: Task, schedule: FitSchedule, state: TrainState, metrics: dict[str, float]
) -> None:
    """Keep the weights of this epoch if they are the best so far, or cannot be compared."""
    value = metrics.get(schedule.monitor, math.nan)
    sign = 1.0 if schedule.higher_is_better else -1.0
    # Without a value to compare with, the newest epoch counts as the best.
    has_values = not math.isnan(value) and not math.isnan(state.best_value)
    is_comparable = bool(state.best_weights) and has_values
    if not is_comparable or sign * value > sign * state.best_value:
        state.best_epoch, state.best_value = state.epoch, value
        state.best_weights = copy.deepcopy(task.fitted.state_dict())


def _is_out_of_patience(state: TrainState, schedule: FitSchedule) -> bool:
    return bool(schedule.patience) and state.epoch - state.best_epoch >= schedule.patience


def _log_epoch(
    task: Task,
    schedule: FitSchedule,
    state: TrainState,
    metrics: dict[str, float],
    seconds_left: float,
) -> None:
    values = "  ".join(f"{name} {metrics[name]:.4f}" for name in metrics if name != "seconds")
    best = f"  best {schedule.monitor} {state.best_value:.4f} in epoch {state.best_epoch}"
    log.info(
        "%s  epoch %d/%d  %s%s  %.0f s%s",
        task.name,
        state.epoch,
        schedule.epochs,
        values,
        best if schedule.monitor else "",
        metrics["seconds"],
        f", at most {format_duration(seconds_left)} left" if seconds_left else "",
    )


def _resume(task: Task, checkpoint: Path) -> TrainState:
    """The state in the checkpoint; a new one if it is absent or cannot be used."""
    if not checkpoint.is_file():
        return TrainState()
    # A file that turns out to be wrong in its last part may have been loaded in its first.
    weights, optimiser = copy.deepcopy((task.model.state_dict(), task.optimiser.state_dict()))
    try:
        state = load_train_state(checkpoint, task.name, task.parts)
    except (
        WeightsError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
    ) as error:
        reason = f"{checkpoint}: not the progress of a fit ({error!r})"
        if isinstance(error, WeightsError):
            reason = str(error)
        log.warning("%s; %s begins again", reason, task.name)
        task.model.load_state_dict(weights)
        task.optimiser.load_state_dict(optimiser)
        return TrainState()
    log.info(
        "%s: going on after epoch %d, step %d of the next",
        task.name,
        state.epoch,
        state.epoch_totals.step,
    )
    return state
