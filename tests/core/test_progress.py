import io
import itertools
import sys

from epsam.core.progress import ProgressLog, track


def test_a_line_each_minute_has_the_time_left(caplog):
    # 25 s each: lines after 75 s and 150 s, and none at the end.
    seconds = itertools.count(0, 25)
    lines = ProgressLog("encoding", 8, lambda: next(seconds))
    with caplog.at_level("INFO"):
        for _ in range(8):
            lines.advance()
    assert caplog.messages == ["encoding: 3 of 8, 2 min left", "encoding: 6 of 8, 50 s left"]


def test_without_a_terminal_there_are_lines_and_no_bar(caplog, capsys):
    seconds = itertools.count(0, 70)
    with caplog.at_level("INFO"):
        assert list(track("abc", "encoding", 3, clock=lambda: next(seconds))) == ["a", "b", "c"]
    assert caplog.messages == ["encoding: 1 of 3, 2 min left", "encoding: 2 of 3, 1 min left"]
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_there_is_a_bar_and_no_line(caplog, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    seconds = itertools.count(0, 70)
    with caplog.at_level("INFO"):
        assert list(track("abc", "encoding", 3, clock=lambda: next(seconds))) == ["a", "b", "c"]
    assert caplog.messages == []
    assert "encoding" in terminal.getvalue()
