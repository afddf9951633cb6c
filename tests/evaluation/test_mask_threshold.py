import numpy as np
import pytest

from epsam.core.errors import DatasetError
from epsam.data.images import write_mask
from epsam.data.patches import Patch
from epsam.evaluation.mask_threshold import choose_mask_threshold
from epsam.evaluation.predictors import InitialMasks, ProbabilityPredictor
from epsam.paths import RunPaths


class FallingProbabilities:
    """A predictor whose probability falls from left to right: 0.95, 0.85, … 0.05."""

    name = "round 1"

    def __init__(self, threshold=0.5):
        self.threshold = threshold

    def probabilities(self, split, patches):
        assert split == "val"
        for _ in patches:
            yield np.tile(np.linspace(0.95, 0.05, 10, dtype=np.float32), (10, 1))

    def masks(self, split, patches):
        return [p > self.threshold for p in self.probabilities(split, patches)]

    def with_threshold(self, threshold):
        return FallingProbabilities(threshold)


@pytest.fixture
def validation(tmp_path):
    """A run with two validation patches, neither with ground truth; the initial masks are 7 and 7
    columns of 10.
    """
    run = RunPaths(tmp_path)
    patches = []
    for name in ("a_1", "b_1"):
        mask = np.zeros((10, 10), bool)
        mask[:, :7] = True
        write_mask(run.initial_masks("val") / f"{name}.png", mask)
        patches.append(Patch(name, 1, tmp_path / f"{name}.png", None))
    return run, patches


def test_the_threshold_that_agrees_best_with_the_initial_masks_is_taken(validation):
    # Above 0.3 lie seven columns: 0.95 to 0.35.
    assert choose_mask_threshold(FallingProbabilities(), *validation) == 0.3


def test_of_equally_good_thresholds_the_one_closest_to_a_half_is_taken(validation):
    run, patches = validation
    for patch in patches:
        write_mask(run.initial_masks("val") / f"{patch.name}.png", np.zeros((10, 10), bool))
    empty = type("Empty", (FallingProbabilities,), {})()
    empty.probabilities = lambda split, patches: (np.zeros((10, 10)) for _ in patches)
    assert choose_mask_threshold(empty, run, patches) == 0.5


def test_it_needs_patches_with_tumour(validation):
    with pytest.raises(DatasetError, match="no patch with tumour"):
        choose_mask_threshold(FallingProbabilities(), validation[0], [])


def test_initial_masks_have_no_threshold(validation):
    assert isinstance(FallingProbabilities(), ProbabilityPredictor)
    assert not isinstance(InitialMasks(validation[0]), ProbabilityPredictor)
