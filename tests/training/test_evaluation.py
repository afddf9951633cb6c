import pytest

from epsam.training.evaluation import Scored, extreme_cases
from epsam.training.metrics import Overlap


def scored(**dice):
    """Patches with the given Dice, each of 100 predicted and 100 true pixels."""
    return Scored("test", "round 1", {name: Overlap(round(100 * value), 100, 100) for name, value in dice.items()})


def test_a_row_has_the_mean_over_patches_and_all_pixels_pooled():
    found = Scored("val", "x", {"a": Overlap(10, 10, 10), "b": Overlap(0, 90, 90)}).row()
    assert (found["split"], found["what"], found["patches"]) == ("val", "x", 2)
    assert found["dice"] == pytest.approx(0.5, abs=1e-5)
    assert found["pooled_dice"] == pytest.approx(20 / 200, abs=1e-5)
    assert found["pooled_iou"] == pytest.approx(10 / 190, abs=1e-5)


def test_every_patch_has_a_row():
    rows = scored(a=0.5, b=1.0).patch_rows()
    assert [(row["id"], row["dice"]) for row in rows] == [("a", pytest.approx(0.5, abs=1e-5)), ("b", 1.0)]


def test_extreme_cases_are_lowest_middle_highest_and_none_twice():
    dice = {"a": 0.9, "b": 0.1, "c": 0.5, "d": 0.2, "e": 0.8, "f": 0.4, "g": 1.0}
    assert extreme_cases(scored(**dice)) == ["b", "d", "f", "c", "a", "g"]
    assert extreme_cases(scored(x=0.3, y=0.2)) == ["y", "x"]
    assert extreme_cases(Scored("test", "x", {})) == []
