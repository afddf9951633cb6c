"""benchmarks/true_share.py: the cut at the true share, by hand."""

from pathlib import Path

import numpy as np
import pytest

from epsam.core.errors import DatasetError
from epsam.data.images import write_mask, write_rgb
from epsam.data.patches import list_labelled_patches
from epsam.paths import RunPaths

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def true_share(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import true_share

    return true_share


def test_as_many_pixels_are_taken_as_the_ground_truth_has(true_share):
    cam = np.array([[0.9, 0.5], [0.1, 0.4]], np.float32)
    # Two pixels of tumour: 0.9 and 0.5 are taken, wherever the tumour is.
    ground_truth = np.array([[True, False], [True, False]])
    assert true_share.cut_at_share(cam, ground_truth).tolist() == [[True, True], [False, False]]


def test_pixels_that_equal_the_last_one_are_taken_too(true_share):
    cam = np.array([[0.5, 0.5], [0.1, 0.5]], np.float32)
    ground_truth = np.array([[True, False], [False, False]])
    assert true_share.cut_at_share(cam, ground_truth).tolist() == [[True, True], [False, True]]


def test_no_tumour_takes_nothing(true_share):
    empty = np.zeros((2, 2), bool)
    assert not true_share.cut_at_share(np.ones((2, 2), np.float32), empty).any()


def test_the_mean_is_over_patches(true_share, tmp_path):
    # All of the first patch is tumour, half of the second: filled, they have Dice 1 and 2/3. The
    # metric adds a little above and below the line of its fraction.
    for name, truth in (("a_1", [[1, 1], [1, 1]]), ("b_1", [[1, 1], [0, 0]])):
        write_rgb(tmp_path / "image" / f"{name}.png", np.zeros((2, 2, 3), np.uint8))
        write_mask(tmp_path / "mask" / f"{name}.png", np.array(truth, bool))
    patches = list_labelled_patches(tmp_path)
    filled = [np.ones((2, 2), bool), np.ones((2, 2), bool)]
    assert true_share.mean_dice(filled, patches) == pytest.approx(5 / 6, abs=1e-4)


def test_a_run_without_maps_is_named(true_share, tmp_path):
    with pytest.raises(DatasetError, match=r"activation/val.npz: no such file; name a run"):
        true_share.score_run("x", RunPaths(tmp_path), tmp_path)
