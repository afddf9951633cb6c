"""The numbers of processes, and what one process alone does without any group."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from epsam.core.distributed import (
    World,
    gather_objects,
    gather_parts,
    is_true_of_any,
    start_group,
)
from epsam.core.errors import DeviceError
from support.processes import run_in_processes, square_parts

REPOSITORY = Path(__file__).resolve().parents[2]


def test_without_a_launcher_there_is_one_process():
    assert World.from_variables({}) == World(0, 1, 0)


def test_a_launcher_numbers_the_processes():
    variables = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "SLURM_PROCID": "9"}
    assert World.from_variables(variables) == World(3, 4, 1)
    assert not World(3, 4, 1).is_main


@pytest.mark.parametrize("changed", [{"RANK": "4"}, {"WORLD_SIZE": "x"}, {"LOCAL_RANK": ""}])
def test_numbers_of_no_process_are_one_error(changed):
    with pytest.raises(DeviceError, match="not the numbers of a process"):
        World.from_variables({"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", **changed})


def test_one_process_sends_nothing():
    assert gather_objects("a") == ["a"]
    assert (is_true_of_any(True), is_true_of_any(False)) == (True, False)
    assert gather_parts([1, 2, 3]) == [1, 2, 3]


def test_the_module_imports_no_torch():
    code = "import sys; import epsam.core.distributed; sys.exit('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], check=False, env={"PYTHONPATH": str(REPOSITORY / "src")}
    )
    assert result.returncode == 0


def test_parts_come_back_in_the_order_of_the_items(tmp_path):
    assert run_in_processes(square_parts, 3, tmp_path) == [[0, 1, 4, 9, 16, 25, 36]] * 3


def test_processes_that_cannot_meet_are_one_error(monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setenv("MASTER_PORT", "1234")
    with pytest.raises(DeviceError, match="MASTER_ADDR: not set, so that the 2 processes cannot"):
        start_group(World(0, 2, 0))


@pytest.mark.slow
@pytest.mark.long
def test_a_request_to_stop_is_heeded_while_a_process_waits_for_the_others(tmp_path):
    # The second process never comes.
    code = (
        "import sys\n"
        "from epsam.core.distributed import World, start_group\n"
        "try: start_group(World(0, 2, 0), 'file://' + sys.argv[1])\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    meeting_point = tmp_path / "meeting_point"
    process = subprocess.Popen(
        [sys.executable, "-c", code, meeting_point], env={"PYTHONPATH": str(REPOSITORY / "src")}
    )
    while not (meeting_point.is_file() and meeting_point.stat().st_size):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=300) == 130


def test_an_error_of_any_kind_while_connecting_is_not_taken_for_a_connection(monkeypatch, tmp_path):
    def fail(*arguments, **settings):
        raise TypeError("another torch")

    monkeypatch.setattr("torch.distributed.init_process_group", fail)
    with pytest.raises(TypeError, match="another torch"):
        start_group(World(0, 2, 0), f"file://{tmp_path}/meeting_point")
