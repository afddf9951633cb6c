import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def measure(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import measure

    return measure


def test_a_ratio_is_plain_over_ours_and_has_to_reach_its_target(measure):
    met = measure.Comparison("slow", 6.0, "fast", 2.0, 3.0).as_row()
    assert (met["ratio"], met["met"]) == (3.0, True)
    assert not measure.Comparison("slow", 5.9, "fast", 2.0, 3.0).as_row()["met"]


def test_sides_take_turns_after_one_unmeasured_call_each(measure):
    calls = []
    times = measure.in_turns(lambda: calls.append("plain"), lambda: calls.append("ours"), "cpu", repeats=2)
    assert calls == ["plain", "ours", "plain", "ours", "plain", "ours"]
    assert all(seconds >= 0 for seconds in times)


def test_an_unknown_name_is_told():
    done = subprocess.run([sys.executable, str(ROOT / "benchmarks" / "run.py"), "nonsense"], capture_output=True,
                          text=True)
    assert done.returncode == 2
    assert "no such benchmark: nonsense" in done.stderr
