import os
import signal
import subprocess
import sys

import pytest

from epsam.errors import BusyError
from epsam.lock import NAME, claimed

HOLDER = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from epsam.lock import claimed
with claimed(Path(sys.argv[1]), "x"):
    child = os.fork()
    if child:
        print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    source = os.path.dirname(os.path.dirname(sys.modules["epsam"].__file__))
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "run"), source], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_folder_in_use_is_refused_with_who_holds_it_and_what_else_to_do(tmp_path, holder):
    expected = rf"run: in use by another run \(process {holder.pid} on .+\); wait for it to end, or take another name"
    with pytest.raises(BusyError, match=expected), claimed(tmp_path / "run", "take another name"):
        pass


def test_a_killed_process_keeps_no_claim_even_while_its_children_live(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with claimed(tmp_path / "run", "x"):
        assert (tmp_path / "run" / NAME).read_text().startswith(f"process {os.getpid()} on ")


def test_a_claim_ends_with_its_block(tmp_path):
    for _ in range(2):
        with claimed(tmp_path / "run", "x"):
            pass
    again = subprocess.run([sys.executable, "-c", HOLDER, str(tmp_path / "run"),
                            os.path.dirname(os.path.dirname(sys.modules["epsam"].__file__))],
                           input="", text=True, capture_output=True, check=False)
    assert "held" in again.stdout
