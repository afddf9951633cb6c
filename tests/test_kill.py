"""train.sh that is asked to stop, and proof that the comparison of kill_train.py sees a difference."""

import os
import signal

import pytest

import kill_train
from kill_train import differing, essence, fingerprints, kill_test
from mini import FLAGS, clone, start


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_train_sh_asked_to_stop_saves_ends_with_130_and_says_how_to_go_on(tmp_path, number):
    long = FLAGS["CLASSIFIER_FLAGS"].replace("--epoch 5 ", "--epoch 1000 ")
    process = start(clone(tmp_path), "./train.sh", CLASSIFIER_FLAGS=long)
    assert any("epoch 2/" in line for line in process.stdout)
    os.killpg(process.pid, number)
    told, _ = process.communicate()
    assert process.returncode == 130, told
    assert told.splitlines()[-1] == "interrupted; run the same command again to go on"
    assert list((tmp_path / "checkpoints" / "mini" / "unfinished" / "train_classifier").glob("*.pth"))


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


def test_a_run_that_ends_between_two_kills_is_compared_too(tmp_path, monkeypatch):
    """The second start comes to its end before the kill, with a file that differs; later runs are as they should be."""
    stages, seen = iter(["check", "", "evaluate"]), iter([{"a": "1"}, {"a": "2"}, {"a": "1"}])
    monkeypatch.setattr(kill_train, "made", lambda folder: folder.mkdir() or folder)
    monkeypatch.setattr(kill_train, "finish", lambda *_: 1.0)
    monkeypatch.setattr(kill_train, "kill_after", lambda *_: next(stages))
    monkeypatch.setattr(kill_train, "fingerprints", lambda _: next(seen))
    assert kill_test(tmp_path, kills=2, seed=0, stages={}) == differing({"a": "1"}, {"a": "2"}) != []
