"""A question at a terminal; without one there is none."""

import os
import pty
import subprocess
import sys

import pytest

from support.mini import REPOSITORY

ASK = "from epsam.core.terminal import confirm; print('answer', confirm('Replace it?'))"


def ask_at_a_terminal(answer):
    """What a process with a terminal of its own prints when `answer` is typed."""
    process, terminal = pty.fork()
    if process == 0:
        # stdin and stdout are no terminal, as for a stage of train.sh.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ["PYTHONPATH"] = str(REPOSITORY / "src")
        os.execv(sys.executable, [sys.executable, "-c", ASK])
    os.write(terminal, answer.encode())
    printed = b""
    try:
        while piece := os.read(terminal, 1000):
            printed += piece
    except OSError:
        # The other end has closed.
        pass
    os.close(terminal)
    os.waitpid(process, 0)
    return printed.decode()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("y\n", True), (" Yes\n", True), ("n\n", False), ("\n", False), ("yeah no\n", False)],
)
def test_only_a_yes_at_the_terminal_is_one(answer, expected):
    printed = ask_at_a_terminal(answer)
    assert "Replace it? [y/N] " in printed
    assert f"answer {expected}" in printed


def test_without_a_terminal_nobody_is_asked():
    result = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        input="y\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert (result.stdout, result.stderr) == ("answer False\n", "")
