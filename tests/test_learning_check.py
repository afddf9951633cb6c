"""benchmarks/learning_check.py: what counts as learning, by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from epsam.config.masks import MaskRule
from epsam.core.errors import DatasetError
from epsam.core.files import write_table
from epsam.data.cam_store import CamStore
from epsam.data.images import write_mask, write_rgb
from epsam.data.patches import list_labelled_patches
from epsam.paths import RunPaths
from epsam.tables import CLASSIFIER_COLUMNS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def learning_check(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import learning_check

    return learning_check


@pytest.fixture
def patches(tmp_path):
    """Two patches with tumour, of which one is nothing else, and one without."""
    masks = {"a_1": np.eye(2, dtype=bool), "b_1": np.ones((2, 2), bool)}
    for name in ("a_1", "b_1", "c_0"):
        write_rgb(tmp_path / "image" / f"{name}.png", np.zeros((2, 2, 3), np.uint8))
        if name in masks:
            write_mask(tmp_path / "mask" / f"{name}.png", masks[name])
    return list_labelled_patches(tmp_path)


def test_pixels_are_told_apart_within_positives_and_patches_by_their_probability(
    learning_check, patches
):
    # Tumour at 0.9 and 0.4, the rest at 0.5 and 0.1: three of four pairs are in order.
    maps = {"a_1": np.array([[0.9, 0.5], [0.1, 0.4]], np.float32), "b_1": np.ones((2, 2))}
    cams = CamStore("", maps, {"a_1": 0.8, "b_1": 0.2, "c_0": 0.3})
    quality = learning_check.measure_quality(cams, patches)
    assert (quality.patch_auroc, quality.pixel_auroc) == (0.5, 0.75)
    assert not quality.has_learnt
    assert learning_check.MapQuality(0.9, 0.65).has_learnt
    assert not learning_check.MapQuality(0.95, 0.64).has_learnt
    assert not learning_check.MapQuality(math.nan, 0.9).has_learnt


def test_probabilities_are_those_of_validation_and_need_an_evaluation(learning_check, tmp_path):
    run = RunPaths(tmp_path)
    with pytest.raises(DatasetError, match="run evaluate.py on that run"):
        learning_check.read_probabilities(run)
    rows = []
    for split, probability in (("train", 0.1), ("val", 0.7)):
        rows.append({"split": split, "id": "a", "label": 1, "probability": probability})
    write_table(run.classifier_scores, CLASSIFIER_COLUMNS, rows)
    assert learning_check.read_probabilities(run) == {"a": 0.7}


def test_options_of_a_run_are_restored_from_either_spelling(learning_check):
    rule = learning_check.restore(MaskRule, {"cam": "adl", "quantile": 0.1, "unknown": 1})
    assert (rule.cam, rule.quantile) == ("adl", 0.1)


def test_a_run_without_maps_is_named(learning_check, tmp_path):
    with pytest.raises(DatasetError, match=r"activation/val.npz: no such file; name a run"):
        learning_check.check_run("x", RunPaths(tmp_path), tmp_path)
