"""Ctrl-C while packages are imported, which takes seconds."""

import os
import signal
import subprocess
import sys

import pytest

from epsam.core.early_interrupt import INTERRUPTED
from support.mini import REPOSITORY

INTERRUPTING_PACKAGE = """
import os, signal, time
os.kill(os.getpid(), signal.SIGINT)
time.sleep(30)
"""
PROGRAM_OF_A_USER = "import epsam.data.images"


def run(tmp_path, script):
    (tmp_path / "numpy.py").write_text(INTERRUPTING_PACKAGE)
    path = f"{tmp_path}:{REPOSITORY / 'src'}"
    return subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        # The tests may have been started in the background, where Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.parametrize("script", ["check.py", "infer.py", "ablate.py"])
def test_an_interrupt_while_a_script_imports_is_one_line(tmp_path, script):
    result = run(tmp_path, REPOSITORY / "src" / script)
    assert result.stderr == INTERRUPTED + "\n"
    assert result.returncode == -signal.SIGINT


def test_a_program_that_uses_the_package_has_its_traceback(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM_OF_A_USER)
    result = run(tmp_path, tmp_path / "program.py")
    assert "Traceback" in result.stderr
    assert INTERRUPTED not in result.stderr
