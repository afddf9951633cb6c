"""What the classifier is fitted to, by what, and how it is validated."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from epsam.config.classifier import ClassifierOptions
from epsam.core.device import select_device
from epsam.core.seeding import generator
from epsam.data.augmentation import augment, draw_augmentation
from epsam.data.images import write_rgb
from epsam.data.patches import Patch
from epsam.engine.fit import fit
from epsam.training.classifier import (
    build_classifier_schedule,
    build_classifier_task,
    class_weights,
    score_classifier,
)
from epsam.weak.adl import AttentionDropout
from epsam.weak.losses import binary_cross_entropy

SIDE = 8
CPU = select_device("cpu", "fp32")


class ColourClassifier(nn.Module):
    """Logit: the sum of an image's mean colours, each normalised by batch norm; it notes what it
    is shown.
    """

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        nn.init.constant_(self.norm.running_mean, 0.5)
        nn.init.constant_(self.norm.running_var, 0.04)
        self.images = []

    def forward(self, images):
        self.images.append(images.detach())
        return self.norm(images.mean(dim=(2, 3))).sum(dim=1)

    def loss(self, images, labels):
        return binary_cross_entropy(self(images), labels)


@pytest.fixture
def patches(tmp_path):
    """Seven patches of noise, those of even number with tumour."""
    rng, patches = np.random.default_rng(0), []
    for number in range(7):
        label = 1 - number % 2
        path = tmp_path / f"p{number}_{label}.png"
        write_rgb(path, rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8))
        patches.append(Patch(path.stem, label, path, None))
    return patches


def classifier_task(model, patches, **options):
    options = ClassifierOptions(batch_size=3, workers=0, **options)
    return build_classifier_task(model, patches, patches[:1], SIDE, options, CPU)


def names_of_epoch(task, epoch, first_step=0):
    return [name for batch in task.batches(epoch, first_step) for name in batch.names]


def test_the_rate_falls_by_a_factor_every_few_epochs_and_the_lowest_validation_loss_is_best():
    schedule = build_classifier_schedule(ClassifierOptions(lr_step=2, lr_decay=0.5))
    assert (schedule.monitor, schedule.higher_is_better) == ("val_loss", False)
    # Three steps an epoch: the factor changes with the first step of epochs 3 and 5, never within
    # an epoch.
    factors = [schedule.lr_factor(step, 3) for step in (0, 5, 6, 11, 12)]
    assert factors == pytest.approx([1, 1, 0.5, 0.5, 0.25])
    constant = build_classifier_schedule(ClassifierOptions(lr_step=0, lr_decay=0.5))
    assert constant.lr_factor(999, 3) == 1


def test_parts_of_a_model_may_learn_at_a_rate_of_their_own(patches):
    model = ColourClassifier()
    (group,) = classifier_task(model, patches, lr=0.1).optimiser.param_groups
    assert group["lr"] == 0.1

    def groups(lr, side_lr_factor):
        return [
            {"params": [model.norm.weight], "lr": lr},
            {"params": [model.norm.bias], "lr": lr * side_lr_factor},
        ]

    model.parameter_groups = groups
    task = classifier_task(model, patches, lr=0.1, side_lr_factor=0.5, weight_decay=0.3)
    of_groups = [(group["lr"], group["weight_decay"]) for group in task.optimiser.param_groups]
    assert of_groups == [(0.1, 0.3), (0.05, 0.3)]


def test_each_epoch_has_all_patches_in_an_order_of_its_own(patches):
    task = classifier_task(ColourClassifier(), patches)
    orders = [names_of_epoch(task, epoch) for epoch in range(3)]
    listed = [patch.name for patch in patches]
    assert [sorted(order) for order in orders] == [listed] * 3
    assert len({tuple(order) for order in [listed, *orders]}) == 4
    # Broken off after its first batch of three, an epoch goes on with the fourth patch.
    assert names_of_epoch(task, 1, first_step=1) == orders[1][3:]


def test_a_step_sees_each_patch_mirrored_turned_and_tinted_anew_in_each_epoch(patches):
    model = ColourClassifier()
    task = classifier_task(model, patches, seed=4)
    for epoch in (0, 1):
        batch = next(iter(task.batches(0, 0)))
        task.loss(batch, epoch)
        rngs = [generator(4, "classifier", "augment", epoch, name) for name in batch.names]
        expected = augment(batch.images.float() / 255, [draw_augmentation(rng) for rng in rngs])
        assert torch.equal(model.images[-1], expected)
    assert float((model.images[0] - model.images[1]).abs().max()) > 0.1


def test_weights_without_a_gradient_decay_as_adam_has_it(patches):
    model = nn.Linear(2, 1)
    # Not near zero, where Adam's epsilon counts.
    nn.init.constant_(model.weight, -0.5)
    task = classifier_task(model, patches, lr=1e-2, weight_decay=1e-3)
    before = model.weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    task.optimiser.step()
    # Adam takes the decay for a gradient, and its first step is as long as the learning rate,
    # however small the gradient.
    moved = before - model.weight.detach()
    torch.testing.assert_close(moved, 1e-2 * before.sign(), rtol=1e-3, atol=0)


def test_validation_is_the_cross_entropy_of_logits_by_the_running_statistics(tmp_path):
    model = ColourClassifier().train()
    patches, losses = [], []
    for grey, label in ((51, 1), (204, 0), (102, 0)):
        path = tmp_path / f"{grey}_{label}.png"
        write_rgb(path, np.full((SIDE, SIDE, 3), grey, np.uint8))
        patches.append(Patch(path.stem, label, path, None))
        # Three colours, each normalised by a mean of 0.5 and a deviation of 0.2.
        logit = 3 * (grey / 255 - 0.5) / 0.2
        losses.append(math.log1p(math.exp(-logit if label else logit)))

    scores = score_classifier(model, patches, SIDE, ClassifierOptions(workers=0), CPU)
    assert scores["loss"] == pytest.approx(sum(losses) / 3, rel=1e-3)
    # Of tumour probabilities 0.01, 0.99 and 0.18 only the last is on its label's side.
    assert scores["accuracy"] == pytest.approx(1 / 3)
    assert model.norm.running_mean.tolist() == [0.5] * 3


@pytest.mark.parametrize(
    ("step", "factor"), [(0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (20, 0.5), (40, 0.25)]
)
def test_the_rate_rises_over_the_epochs_of_warm_up_and_then_falls_as_before(step, factor):
    """Two epochs of five steps of warm-up; half of the rate every four epochs."""
    schedule = build_classifier_schedule(ClassifierOptions(warm_up=2, lr_step=4, lr_decay=0.5))
    assert schedule.lr_factor(step, 5) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("labels", "weights"),
    [((0, 1, 1, 1), [2.0, 2 / 3]), ((0, 0, 1, 1), [1.0, 1.0]), ((1, 1), [0.0, 0.5])],
)
def test_class_weights_are_inverse_to_the_number_of_patches(labels, weights, tmp_path):
    train = [Patch(f"p{i}", label, tmp_path, None) for i, label in enumerate(labels)]
    assert class_weights(train).tolist() == pytest.approx(weights)


def test_balanced_losses_are_those_times_the_weight_of_their_class(patches):
    """Four patches with tumour and three without: weights 7/8 and 7/6."""
    losses = []
    for balance in (False, True):
        task = classifier_task(ColourClassifier(), patches, balance_classes=balance)
        batch = next(iter(task.batches(0, 0)))
        losses.append(task.loss(batch, 0))
    expected = losses[0] * torch.where(batch.labels == 1, 7 / 8, 7 / 6)
    torch.testing.assert_close(losses[1], expected)


def test_stain_jitter_changes_what_is_trained_on_and_not_what_is_scored(patches):
    models = {}
    for strength in (0.0, 0.3):
        model = ColourClassifier()
        task = classifier_task(model, patches[:6], stain_jitter=strength)
        task.loss(next(iter(task.batches(0, 0))), 0)
        task.validate()
        models[strength] = model
    trained, scored = zip(models[0.0].images, models[0.3].images, strict=True)
    assert not torch.allclose(*trained, atol=0.05)
    assert torch.equal(*scored)


def test_adl_acts_from_its_first_epoch_on(patches):
    model = nn.Sequential(ColourClassifier(), AttentionDropout())
    model.loss = model[0].loss
    task = classifier_task(model, patches, adl_begin=3)
    active = []
    for epoch in range(4):
        task.loss(next(iter(task.batches(epoch, 0))), epoch)
        active.append(model[1].is_active)
    assert active == [False, False, True, True]


def test_the_average_of_weights_is_validated_and_kept(patches, tmp_path):
    """Two steps with a decay of 0.75: the first is taken whole, then 3/4 of it and 1/4 of the
    second.
    """
    model = ColourClassifier()
    task = classifier_task(model, patches[:6], ema=0.75, lr=0.1, epoch=1)
    seen = []
    step = task.optimiser.step

    def noted_step():
        step()
        seen.append(model.norm.weight.detach().clone())

    task.optimiser.step = noted_step
    schedule = build_classifier_schedule(ClassifierOptions(epoch=1))
    state = fit(task, schedule, tmp_path / "fit.pth")

    expected = 0.75 * seen[0] + 0.25 * seen[1]
    torch.testing.assert_close(model.norm.weight.detach(), expected)
    # The kept network alone has this loss on the validation patch.
    losses = [value for _, name, value in state.history if name == "val_loss"]
    again = score_classifier(
        model, patches[:1], SIDE, ClassifierOptions(batch_size=3, workers=0), CPU
    )
    assert losses == [again["loss"]]


def test_an_averaged_fit_that_was_broken_off_ends_with_the_same_bits(patches, tmp_path):
    whole, parts = ColourClassifier(), ColourClassifier()
    options = {"ema": 0.5, "lr": 0.1}
    two, one = (build_classifier_schedule(ClassifierOptions(epoch=epochs)) for epochs in (2, 1))
    fit(classifier_task(whole, patches[:6], **options), two, tmp_path / "whole.pth")
    fit(classifier_task(ColourClassifier(), patches[:6], **options), one, tmp_path / "parts.pth")
    fit(classifier_task(parts, patches[:6], **options), two, tmp_path / "parts.pth")
    for name, value in whole.state_dict().items():
        assert torch.equal(parts.state_dict()[name], value), name


def test_without_a_decay_the_weights_themselves_are_kept(patches):
    model = ColourClassifier()
    task = classifier_task(model, patches)
    assert task.average is None
    assert task.fitted is model
