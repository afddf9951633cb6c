import io
from contextlib import redirect_stderr
from itertools import count

import pytest

from epsam.inference.progress import EtaEstimator, SlideProgress


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
