from dataclasses import replace

import pytest

from epsam.config.inference import GateOptions, InferOptions
from epsam.core.errors import DatasetError
from epsam.data.patches import Patch
from epsam.evaluation.classification import Classification, find_thresholds
from epsam.evaluation.thresholds import (
    RunThresholds,
    choose_gate_threshold,
    load_thresholds,
    resolve_gate_threshold,
    resolve_inference_thresholds,
    save_thresholds,
)
from epsam.paths import RunPaths


def test_the_gate_separates_best_and_lies_in_the_middle_of_a_gap():
    scores, labels = [0.1, 0.2, 0.7, 0.3, 0.9], [0, 0, 0, 1, 1]
    # Above 0.2: both positives and two of three negatives. Above 0.7: one and all three.
    assert choose_gate_threshold(scores, labels) == pytest.approx(0.25)
    assert choose_gate_threshold([0.2, 0.8], [0, 1]) == pytest.approx(0.5)


def test_of_equally_good_gates_the_one_closest_to_a_half_is_taken():
    # 0.15 finds both positives and one of two negatives, 0.55 one and both: 1.5 in sum.
    assert choose_gate_threshold([0.1, 0.4, 0.2, 0.7], [0, 0, 1, 1]) == pytest.approx(0.55)


def test_without_both_labels_there_is_no_gate_and_equal_scores_leave_the_default():
    assert choose_gate_threshold([0.1, 0.9], [1, 1]) is None
    assert choose_gate_threshold([], []) is None
    assert choose_gate_threshold([0.3, 0.3], [0, 1]) == 0.5


def test_the_flag_decides_which_threshold_counts():
    assert resolve_gate_threshold(GateOptions(gate_threshold=0.4), 0.7) == 0.4
    assert resolve_gate_threshold(GateOptions(gate_from="validation"), 0.7) == 0.7
    assert resolve_gate_threshold(GateOptions(False, gate_from="validation"), 0.7) == 0
    with pytest.raises(DatasetError, match="no patches of one of the labels"):
        resolve_gate_threshold(GateOptions(gate_from="validation"), None)


def test_thresholds_are_found_on_validation_alone():
    patches = [Patch("a_1", 1, None, None), Patch("b_0", 0, None, None)]
    val = Classification("val", patches, {"a_1": 0.9, "b_0": 0.5}, 0.5)
    test = Classification("test", patches, {"a_1": 0.2, "b_0": 0.1}, 0.5)
    thresholds = find_thresholds({"val": val, "test": test})
    assert (thresholds.gate, thresholds.gate_on_validation) == (0.5, pytest.approx(0.7))
    assert find_thresholds({"test": test}) == RunThresholds(0.5, None)
    assert find_thresholds({}) is None


def test_inference_takes_the_runs_threshold_only_if_it_is_set_to(tmp_path):
    run = RunPaths(tmp_path / "mine")
    options = InferOptions(run="mine", checkpoint_root=str(tmp_path), gate_from="validation")
    with pytest.raises(DatasetError, match=r"thresholds\.json does not hold it; run evaluate\.py"):
        resolve_inference_thresholds(options)
    save_thresholds(run, RunThresholds(0.5, 0.7))
    assert load_thresholds(run) == RunThresholds(0.5, 0.7)
    assert resolve_inference_thresholds(options).gate_threshold == 0.7
    masks = replace(options, gate_from="fixed", mask_threshold_from="validation")
    with pytest.raises(DatasetError, match="does not hold it; .* or set --mask_threshold"):
        resolve_inference_thresholds(masks)
    save_thresholds(run, RunThresholds(0.5, 0.7, 0.5, 0.3))
    resolved = resolve_inference_thresholds(masks)
    assert (resolved.mask_threshold, resolved.gate_threshold) == (0.3, 0.5)
    fixed = InferOptions(run="mine", checkpoint_root=str(tmp_path))
    assert resolve_inference_thresholds(fixed) == fixed
