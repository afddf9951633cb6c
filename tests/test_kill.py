"""A handful of the kills of kill_train.py, and proof that its comparison sees a difference."""

import pytest

from kill_train import differing, essence, fingerprints, kill_test


@pytest.mark.slow
def test_a_run_that_was_killed_again_and_again_leaves_the_same_files(tmp_path):
    assert kill_test(tmp_path, kills=2, seed=1) == []


def test_the_comparison_sees_changed_and_missing_files_but_not_durations(tmp_path):
    runs = []
    for name, weights, seconds in (("a", b"1", 1), ("b", b"2", 2)):
        run = tmp_path / name / "checkpoints" / "mini"
        run.mkdir(parents=True)
        (run / "decoder.pth").write_bytes(weights)
        (run / "metrics.csv").write_text(f"stage,epoch,name,value\nx,1,seconds,{seconds}\nx,1,val_dice,0.5\n")
        (run / ".decoder.1.part.pth").write_bytes(b"half")
        runs.append(fingerprints(tmp_path / name))
    assert set(runs[0]) == {"checkpoints/mini/decoder.pth", "checkpoints/mini/metrics.csv"}
    assert differing(*runs) == ["checkpoints/mini/decoder.pth: differs"]
    assert differing(runs[0], {}) != []
    assert b"val_dice" in essence(tmp_path / "a" / "checkpoints" / "mini" / "metrics.csv")


def test_two_empty_runs_are_not_the_same():
    assert differing({}, {}) != []
