import io
from contextlib import redirect_stderr
from itertools import count

import pytest

from epsam.inference.progress import EtaEstimator, PhaseTimer, SlideProgress, format_duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def time_goes_on_by_3_s_whenever_it_is_asked_for(monkeypatch):
    times = count(0.0, 3.0)
    monkeypatch.setattr("tqdm.std.time", lambda: next(times))


def terminal_lines(name, pending, tiles=16, screen=None):
    """What stood on the terminal's line, one after the other, while four times a quarter of the
    tiles was done.
    """
    screen = screen or Terminal()
    with redirect_stderr(screen), SlideProgress("2/4", name, EtaEstimator(pending)) as progress:
        progress.start(tiles)
        for _ in range(4 if tiles else 0):
            progress.advance(tiles // 4)
    return [line.rstrip() for line in screen.getvalue().split("\r")]


def test_slide_tiles_and_both_times_left_are_told_and_the_line_is_free_again():
    first, *further, last = terminal_lines("a", "abc")[1:]
    assert first.startswith("2/4 a:   0%|")
    assert "| 0/16 [00:00<?" in first
    assert "| 8/16 [" in "".join(further)
    assert all("tile, all in " in line for line in further if line)
    assert last == ""


def test_the_last_slides_own_time_is_enough():
    lines = terminal_lines("a", ["a"])
    assert len(lines) > 3
    assert "all in" not in "".join(lines)


def test_a_long_name_leaves_room_for_the_times():
    lines = terminal_lines("TCGA-A1-A0SP-01Z-00-DX1.20D689C6-EFA5-4694-BE76-24475A89ACC0", ["a"])
    assert "2/4 TCGA-A1-A0SP-01Z-00…:" in lines[1]


def test_nothing_is_shown_where_there_is_no_terminal():
    assert terminal_lines("a", "abc", screen=io.StringIO()) == [""]


def test_a_slide_without_tiles_is_no_error():
    assert terminal_lines("a", "ab", tiles=0)[-1] == ""


def test_time_left_follows_the_mean_of_the_slides_done():
    eta = EtaEstimator("abcd")
    for name, seconds in (("a", 20.0), ("b", None), ("c", 30.0)):
        eta.slide_ended(name, seconds)
    assert eta.time_left() == "25 s"
    # A quarter of the last slide took 3 s.
    assert eta.time_left(3.0, 0.25) == "9 s"
    assert [format_duration(seconds) for seconds in (59, 60, 3_599, 12_030)] == [
        "59 s",
        "1 min",
        "1 h 0 min",
        "3 h 20 min",
    ]


def test_before_a_slide_is_done_the_first_ones_speed_counts_for_all():
    """A quarter in 3 s: 9 s more, and twice 12 s for the others."""
    assert EtaEstimator("abc").time_left(3.0, 0.25) == "33 s"


def test_a_phase_within_another_counts_for_itself():
    times = iter([0.0, 1.0, 3.0, 6.0, 10.0, 15.0])
    timer = PhaseTimer((), lambda: next(times))
    with timer.phase("write"), timer.phase("read"):
        pass
    assert timer.total() == 15.0
    assert {name: value for name, value in timer.seconds.items() if value} == {
        "other": 6.0,
        "write": 6.0,
        "read": 3.0,
    }
