import pytest

from epsam.config.classifier import ClassifierOptions
from epsam.training.classifier import build_classifier_schedule


def test_the_rate_falls_by_a_factor_every_few_epochs_and_the_lowest_validation_loss_is_best():
    schedule = build_classifier_schedule(ClassifierOptions(lr_step=2, lr_decay=0.5))
    assert (schedule.monitor, schedule.higher_is_better) == ("val_loss", False)
    # Three steps an epoch: the factor changes with the first step of epochs 3 and 5, never within
    # an epoch.
    factors = [schedule.lr_factor(step, 3) for step in (0, 5, 6, 11, 12)]
    assert factors == pytest.approx([1, 1, 0.5, 0.5, 0.25])
    assert (
        build_classifier_schedule(ClassifierOptions(lr_step=0, lr_decay=0.5)).lr_factor(999, 3) == 1
    )
