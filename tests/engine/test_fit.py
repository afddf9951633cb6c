import math
import os
import signal
from dataclasses import dataclass

import pytest
import torch

from epsam.core.errors import TrainingError
from epsam.core.seeding import generator
from epsam.engine.fit import FitSchedule, fit
from epsam.engine.metric_logger import NullLogger
from epsam.engine.task import Task

DATA = torch.linspace(-1, 1, 12).view(-1, 1)


@dataclass
class Numbers:
    values: torch.Tensor
    names: list


def task(validate=None, loss=None):
    torch.manual_seed(0)
    # Dropout draws from torch's own state: only a fit that seeds each step by key can be resumed
    # with the same bits.
    model = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))

    def batches(epoch, first_step):
        order = generator(5, "order", epoch).permutation(12)
        return [
            Numbers(DATA[order[i : i + 4]], [str(j) for j in order[i : i + 4]]) for i in (0, 4, 8)
        ][first_step:]

    def squared(batch, _epoch):
        # A value for each sample: the loop takes the mean.
        return ((model(batch.values) - 2 * batch.values) ** 2).mean(dim=1)

    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    return Task(
        "task", 5, model, optimiser, batches, loss or squared, validate or (lambda: {"val": 0.0}), 3
    )


def schedule(epochs, patience=0, monitor="", higher=True):
    return FitSchedule(
        epochs, patience, monitor, higher, lambda step, steps: 1 / (1 + step / steps)
    )


def weights(fitted):
    return torch.cat([p.detach().flatten() for p in fitted.model.parameters()])


def test_a_fit_broken_off_after_any_epoch_ends_with_the_same_bits(tmp_path):
    uninterrupted = task()
    fit(uninterrupted, schedule(4), tmp_path / "uninterrupted.pth")
    for done in (1, 2, 3):
        fit(task(), schedule(done), tmp_path / f"{done}.pth")
        resumed = task()
        fit(resumed, schedule(4), tmp_path / f"{done}.pth")
        assert torch.equal(weights(resumed), weights(uninterrupted))


def scaled_task(loss=None, **settings):
    """As in fp16, though the network computes in fp32."""
    scaled = task(loss=loss)
    scaled.scaler = torch.amp.GradScaler("cpu", **settings)
    return scaled


def test_a_step_whose_scaled_gradients_overflow_is_left_out(tmp_path):
    steps = []
    scaled = scaled_task(
        lambda batch, _: (scaled.model(batch.values) * 1e38).mean(), init_scale=2.0**16
    )
    scaled.optimiser.step = lambda: steps.append(1)
    fit(scaled, schedule(1), tmp_path / "fit.pth")
    assert (steps, scaled.scaler.get_scale()) == ([], 2.0**13)


def test_the_scale_of_gradients_survives_an_interruption(tmp_path):
    """It doubles with every second of nine steps."""
    fit(scaled_task(init_scale=4.0, growth_interval=2), schedule(1), tmp_path / "fit.pth")
    resumed = scaled_task(init_scale=4.0, growth_interval=2)
    uninterrupted = scaled_task(init_scale=4.0, growth_interval=2)
    fit(resumed, schedule(3), tmp_path / "fit.pth")
    fit(uninterrupted, schedule(3), tmp_path / "uninterrupted.pth")
    assert resumed.scaler.get_scale() == 4.0 * 2**4
    assert resumed.scaler.state_dict() == uninterrupted.scaler.state_dict()
    assert torch.equal(weights(resumed), weights(uninterrupted))


class Killed(BaseException):
    """A power cut: nothing catches it, nothing more is saved."""


def dying(at, where="loss"):
    """A task whose power is cut in a given call, counted from 0, of its loss, of its optimiser or
    of validation.
    """
    doomed, calls = task(), iter(range(1000))

    def cut(call, before):
        def wrapped(*arguments, **named):
            dies = next(calls) == at
            if dies and before:
                raise Killed
            result = call(*arguments, **named)
            if dies:
                raise Killed
            return result

        return wrapped

    if where == "after the optimiser's step":
        doomed.optimiser.step = cut(doomed.optimiser.step, before=False)
    else:
        setattr(doomed, where, cut(getattr(doomed, where), before=True))
    return doomed


def after_kills(path, *kills, resume=task):
    """Weights, metrics and learning rate of a fit of 3 epochs of 3 steps that was killed at each of
    these moments.
    """
    for doomed in kills:
        with pytest.raises(Killed):
            fit(doomed, schedule(3), path, save_every_s=0)
    last = resume()
    state = fit(last, schedule(3), path, save_every_s=0)
    metrics = [row for row in state.history if row[1] not in ("seconds", "data_wait_share")]
    return weights(last), metrics, last.optimiser.param_groups[0]["lr"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return after_kills(tmp_path_factory.mktemp("uninterrupted") / "c.pth")


def same(first, second):
    return torch.equal(first[0], second[0]) and first[1:] == second[1:]


# The steps of epoch 2 are calls 3, 4, 5: the boundary, one batch before it, one after it, and all
# others.
@pytest.mark.parametrize("step", range(9))
@pytest.mark.parametrize("where", ["loss", "after the optimiser's step"])
def test_a_fit_killed_at_any_step_ends_with_the_same_bits_and_metrics(
    tmp_path, uninterrupted, where, step
):
    assert same(after_kills(tmp_path / "c.pth", dying(step, where)), uninterrupted)


@pytest.mark.parametrize("epoch", range(3))
def test_a_fit_killed_during_validation_ends_with_the_same_bits_and_metrics(
    tmp_path, uninterrupted, epoch
):
    assert same(after_kills(tmp_path / "c.pth", dying(epoch, "validate")), uninterrupted)


def test_the_logger_gets_all_epochs_so_far_and_then_each(tmp_path):
    class Listener(NullLogger):
        def __init__(self):
            self.epochs = []

        def log_scalars(self, history):
            self.epochs.append([epoch for epoch, name, _ in history if name == "val"])

    first, second = Listener(), Listener()
    fit(task(), schedule(2), tmp_path / "c.pth", metric_logger=first)
    fit(task(), schedule(3), tmp_path / "c.pth", metric_logger=second)
    assert first.epochs == [[], [1], [1, 2]]
    assert second.epochs == [[1, 2], [1, 2, 3]]


@pytest.mark.parametrize(("first", "second"), [(4, 1), (4, 0), (3, 2), (5, 0), (1, 1)])
def test_two_kills_in_one_epoch_shift_nothing(tmp_path, uninterrupted, first, second):
    assert same(after_kills(tmp_path / "c.pth", dying(first), dying(second)), uninterrupted)


def test_a_resume_that_forgets_its_step_in_the_epoch_is_noticed(tmp_path, uninterrupted):
    def forgetful():
        started = task()
        batches = started.batches
        started.batches = lambda epoch, _first_step: batches(epoch, 0)
        return started

    assert not same(after_kills(tmp_path / "c.pth", dying(4), resume=forgetful), uninterrupted)


def test_a_resume_that_forgets_the_epochs_order_is_noticed(tmp_path, uninterrupted):
    def forgetful():
        started = task()
        batches = started.batches
        started.batches = lambda _epoch, first_step: batches(0, first_step)
        return started

    assert not same(after_kills(tmp_path / "c.pth", dying(4), resume=forgetful), uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [0, 4, 5, 6])
def test_a_request_to_stop_finishes_the_step_saves_and_goes_on_with_the_same_bits(
    tmp_path, uninterrupted, number, step
):
    stopped, calls = task(), iter(range(1000))
    plain, before = stopped.loss, signal.getsignal(number)

    def loss(batch, epoch):
        if next(calls) == step:
            os.kill(os.getpid(), number)
        return plain(batch, epoch)

    stopped.loss = loss
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, schedule(3), tmp_path / "c.pth")
    content = torch.load(tmp_path / "c.pth", weights_only=True)
    assert (content["epoch"], content["running"]["step"]) == (step // 3, step % 3 + 1)
    assert signal.getsignal(number) is before
    assert same(after_kills(tmp_path / "c.pth"), uninterrupted)


def test_an_interrupted_validation_keeps_the_epochs_steps(tmp_path, uninterrupted):
    def interrupted():
        raise KeyboardInterrupt

    stopped = task(interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, schedule(3), tmp_path / "c.pth")
    assert torch.load(tmp_path / "c.pth", weights_only=True)["running"]["step"] == 3
    assert same(after_kills(tmp_path / "c.pth"), uninterrupted)


def test_early_stopping_counts_through_a_kill(tmp_path):
    values = [0.5, 0.4, 0.3, 0.9]
    doomed = task(scripted(values[:2]))
    plain = doomed.validate

    def validate():
        try:
            return plain()
        except StopIteration:
            raise Killed from None

    doomed.validate = validate
    with pytest.raises(Killed):
        fit(doomed, schedule(4, patience=2, monitor="val"), tmp_path / "c.pth", save_every_s=0)
    state = fit(
        task(scripted(values[2:])), schedule(4, patience=2, monitor="val"), tmp_path / "c.pth"
    )
    assert (state.epoch, state.best_epoch) == (3, 1)


def test_with_a_damaged_checkpoint_the_fit_begins_again(tmp_path, uninterrupted, caplog):
    with pytest.raises(Killed):
        fit(dying(4), schedule(3), tmp_path / "c.pth", save_every_s=0)
    content = bytearray((tmp_path / "c.pth").read_bytes())
    first_weights = torch.load(tmp_path / "c.pth", weights_only=True)["model"]["0.weight"]
    content[content.index(first_weights.numpy().tobytes())] ^= 1
    (tmp_path / "c.pth").write_bytes(content)
    assert same(after_kills(tmp_path / "c.pth"), uninterrupted)
    assert "task begins again" in caplog.text


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda content: content.pop("optimiser"), "not the progress of a fit"),
        (
            lambda content: content.update(running={"step": 1, "more": 2}),
            "not the progress of a fit",
        ),
        (lambda content: content.update(history=[1, 2]), "not the progress of a fit"),
        (lambda content: content["optimiser"]["param_groups"].clear(), "not the progress of a fit"),
        (lambda content: content["model"].pop("0.weight"), "1 missing"),
        (lambda content: content["model"].update(more=torch.zeros(1)), "1 unexpected"),
        (lambda content: content["model"]["0.weight"].fill_(math.nan), "1 not finite"),
        (lambda content: content["best_weights"]["0.weight"].fill_(math.inf), "1 not finite"),
        (lambda content: content.update(model="none"), "not the progress of a fit"),
    ],
    ids=[
        "no optimiser",
        "other sums",
        "other history",
        "no groups",
        "missing",
        "extra",
        "NaN",
        "best",
        "text",
    ],
)
def test_a_checkpoint_that_does_not_fit_is_reported_and_the_fit_begins_again(
    tmp_path, uninterrupted, caplog, harm, message
):
    with pytest.raises(Killed):
        fit(dying(4), schedule(3), tmp_path / "c.pth", save_every_s=0)
    content = torch.load(tmp_path / "c.pth", weights_only=True)
    harm(content)
    torch.save(content, tmp_path / "c.pth")
    assert same(after_kills(tmp_path / "c.pth"), uninterrupted)
    assert message in caplog.text
    assert "task begins again" in caplog.text


def test_a_fit_with_another_order_ends_elsewhere(tmp_path):
    plain, other = task(), task()
    fit(plain, schedule(2), tmp_path / "a.pth")
    ordered = other.batches
    other.batches = lambda epoch, first_step: ordered(epoch + 7, first_step)
    fit(other, schedule(2), tmp_path / "b.pth")
    assert not torch.equal(weights(plain), weights(other))


def scripted(values):
    remaining = iter(values)
    return lambda: {"val": next(remaining)}


def test_the_weights_of_the_best_epoch_are_loaded(tmp_path):
    fitted = task(scripted([0.1, 0.9, 0.3]))
    state = fit(fitted, schedule(3, monitor="val"), tmp_path / "c.pth")
    assert (state.best_epoch, state.best_value) == (2, 0.9)
    reference = task(scripted([0.1, 0.9]))
    fit(reference, schedule(2, monitor="val"), tmp_path / "d.pth")
    assert torch.equal(weights(fitted), weights(reference))


def test_a_lower_value_can_be_the_better_one(tmp_path):
    state = fit(
        task(scripted([0.5, 0.2, 0.4])),
        schedule(3, monitor="val", higher=False),
        tmp_path / "c.pth",
    )
    assert state.best_epoch == 2


def test_patience_ends_the_fit_early(tmp_path):
    state = fit(
        task(scripted([0.5, 0.4, 0.3, 0.9])),
        schedule(4, patience=2, monitor="val"),
        tmp_path / "c.pth",
    )
    assert (state.epoch, state.best_epoch) == (3, 1)


def test_without_a_value_the_last_epoch_is_best(tmp_path):
    state = fit(
        task(lambda: {"val": math.nan}), schedule(3, patience=1, monitor="val"), tmp_path / "c.pth"
    )
    assert (state.epoch, state.best_epoch) == (3, 3)


def test_a_loss_that_is_not_finite_names_its_patches(tmp_path):
    broken = task(loss=lambda batch, epoch: torch.tensor(math.nan, requires_grad=True))
    with pytest.raises(TrainingError, match=r"loss is nan on patches \d+, \d+"):
        fit(broken, schedule(1), tmp_path / "c.pth")


def test_the_learning_rate_follows_the_schedule_through_an_interruption(tmp_path):
    first, second = task(), task()
    fit(first, schedule(1), tmp_path / "c.pth")
    fit(second, schedule(2), tmp_path / "c.pth")
    # The last of six steps is step 5 of 3 an epoch.
    assert second.optimiser.param_groups[0]["lr"] == pytest.approx(0.1 / (1 + 5 / 3))
