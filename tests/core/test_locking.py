import os
import signal

import pytest

from epsam.core.errors import BusyError
from epsam.core.locking import LOCK_FILE, exclusive_lock
from support.holder import holding


@pytest.fixture
def holder(tmp_path):
    with holding(tmp_path / "run") as process:
        yield process


def test_a_folder_in_use_is_refused_with_who_holds_it_and_what_else_to_do(tmp_path, holder):
    expected = (
        rf"run: in use by another run \(process {holder.pid} on .+\); "
        "wait for it to end, or take another name"
    )
    with (
        pytest.raises(BusyError, match=expected),
        exclusive_lock(tmp_path / "run", "take another name"),
    ):
        pass


def test_a_killed_process_holds_no_lock_even_while_its_children_live(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with exclusive_lock(tmp_path / "run", "x"):
        assert (tmp_path / "run" / LOCK_FILE).read_text().startswith(f"process {os.getpid()} on ")


def test_a_lock_ends_with_its_block(tmp_path):
    for _ in range(2):
        with exclusive_lock(tmp_path / "run", "x"):
            pass
    with holding(tmp_path / "run"):
        pass
