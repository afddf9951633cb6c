import math
from dataclasses import dataclass

import pytest
import torch

from epsam.errors import TrainingError
from epsam.randomness import generator
from epsam.training.fit import Schedule, Task, fit

DATA = torch.linspace(-1, 1, 12).view(-1, 1)


@dataclass
class Numbers:
    values: torch.Tensor
    names: list


def task(validate=None, loss=None):
    torch.manual_seed(0)
    # Dropout draws from torch's own state: only a fit that seeds each step by key can be resumed with the same bits.
    model = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))

    def batches(epoch):
        order = generator(5, "order", epoch).permutation(12)
        return [Numbers(DATA[order[i : i + 4]], [str(j) for j in order[i : i + 4]]) for i in (0, 4, 8)]

    def squared(batch, _epoch):
        return ((model(batch.values) - 2 * batch.values) ** 2).mean()

    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    return Task("task", 5, model, optimiser, batches, loss or squared, validate or (lambda: {"val": 0.0}), 3)


def schedule(epochs, patience=0, monitor="", higher=True):
    return Schedule(epochs, patience, monitor, higher, lambda step, steps: 1 / (1 + step / steps))


def weights(fitted):
    return torch.cat([p.detach().flatten() for p in fitted.model.parameters()])


def test_a_fit_broken_off_after_any_epoch_ends_with_the_same_bits(tmp_path):
    whole = task()
    fit(whole, schedule(4), tmp_path / "whole.pth")
    for done in (1, 2, 3):
        fit(task(), schedule(done), tmp_path / f"{done}.pth")
        resumed = task()
        fit(resumed, schedule(4), tmp_path / f"{done}.pth")
        assert torch.equal(weights(resumed), weights(whole))


def test_a_fit_with_another_order_ends_elsewhere(tmp_path):
    plain, other = task(), task()
    fit(plain, schedule(2), tmp_path / "a.pth")
    ordered = other.batches
    other.batches = lambda epoch: ordered(epoch + 7)
    fit(other, schedule(2), tmp_path / "b.pth")
    assert not torch.equal(weights(plain), weights(other))


def scripted(values):
    remaining = iter(values)
    return lambda: {"val": next(remaining)}


def test_the_best_epoch_is_kept(tmp_path):
    fitted = task(scripted([0.1, 0.9, 0.3]))
    progress = fit(fitted, schedule(3, monitor="val"), tmp_path / "c.pth")
    assert (progress.best_epoch, progress.best_value) == (2, 0.9)
    reference = task(scripted([0.1, 0.9]))
    fit(reference, schedule(2, monitor="val"), tmp_path / "d.pth")
    assert torch.equal(weights(fitted), weights(reference))


def test_a_falling_figure_can_be_the_better_one(tmp_path):
    progress = fit(task(scripted([0.5, 0.2, 0.4])), schedule(3, monitor="val", higher=False), tmp_path / "c.pth")
    assert progress.best_epoch == 2


def test_patience_ends_the_fit_early(tmp_path):
    progress = fit(task(scripted([0.5, 0.4, 0.3, 0.9])), schedule(4, patience=2, monitor="val"), tmp_path / "c.pth")
    assert (progress.epoch, progress.best_epoch) == (3, 1)


def test_without_a_figure_the_last_epoch_is_kept(tmp_path):
    progress = fit(task(lambda: {"val": math.nan}), schedule(3, patience=1, monitor="val"), tmp_path / "c.pth")
    assert (progress.epoch, progress.best_epoch) == (3, 3)


def test_a_loss_that_is_no_number_names_its_patches(tmp_path):
    broken = task(loss=lambda batch, epoch: torch.tensor(math.nan, requires_grad=True))
    with pytest.raises(TrainingError, match=r"loss is nan on patches \d+, \d+"):
        fit(broken, schedule(1), tmp_path / "c.pth")


def test_the_rate_follows_the_schedule_through_an_interruption(tmp_path):
    first, second = task(), task()
    fit(first, schedule(1), tmp_path / "c.pth")
    fit(second, schedule(2), tmp_path / "c.pth")
    # The last of six steps is step 5 of 3 an epoch.
    assert second.optimiser.param_groups[0]["lr"] == pytest.approx(0.1 / (1 + 5 / 3))
