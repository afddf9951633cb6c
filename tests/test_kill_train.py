"""Proof that the comparison of kill_train.py sees a difference (the kills: test_scripts.py,
test_traps.py).
"""

from support import kill_train
from support.kill_train import differing, essence, fingerprints, kill_test


def test_the_comparison_sees_changed_and_missing_files_but_not_durations(tmp_path):
    runs = []
    for name, weights, seconds in (("a", b"1", 1), ("b", b"2", 2)):
        run = tmp_path / name / "checkpoints" / "mini"
        run.mkdir(parents=True)
        (run / "decoder.pth").write_bytes(weights)
        (run / "metrics.csv").write_text(
            f"stage,epoch,name,value\nx,1,seconds,{seconds}\nx,1,val_dice,0.5\n"
        )
        (run / ".decoder.1.part.pth").write_bytes(b"half")
        runs.append(fingerprints(tmp_path / name))
    assert set(runs[0]) == {"checkpoints/mini/decoder.pth", "checkpoints/mini/metrics.csv"}
    assert differing(*runs) == ["checkpoints/mini/decoder.pth: differs"]
    assert differing(runs[0], {}) != []
    assert b"val_dice" in essence(tmp_path / "a" / "checkpoints" / "mini" / "metrics.csv")


def test_two_empty_runs_are_not_the_same():
    assert differing({}, {}) != []


def test_a_run_that_ends_between_two_kills_is_compared_too(tmp_path, monkeypatch):
    """The second start comes to its end before the kill, with a file that differs; later runs are
    as they should be.
    """
    stages = iter(["check", "", "evaluate"])
    results = iter([{"a": "1"}, {"a": "2"}, {"a": "1"}])
    monkeypatch.setattr(kill_train, "prepare_clone", lambda folder: folder.mkdir() or folder)
    monkeypatch.setattr(kill_train, "finish", lambda *_: 1.0)
    monkeypatch.setattr(kill_train, "kill_after", lambda *_: next(stages))
    monkeypatch.setattr(kill_train, "fingerprints", lambda _: next(results))
    assert (
        kill_test(tmp_path, kills=2, seed=0, stages={}) == differing({"a": "1"}, {"a": "2"}) != []
    )
