"""Several processes of one command: one message, one exit code, and requests to stop for all."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.mini import REPOSITORY


def start(tmp_path, size, code, **variables):
    script = tmp_path / "stage.py"
    script.write_text("import os, sys, time, signal\nrank = int(os.environ['RANK'])\n" + code)
    return subprocess.Popen(
        [sys.executable, REPOSITORY / "src" / "start_processes.py", str(size), script],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def outcome(process):
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


def test_every_process_has_its_number_and_its_part_of_the_cores(tmp_path):
    code = f"open(r'{tmp_path}/' + str(rank), 'w').write(' '.join(" + (
        "[os.environ['WORLD_SIZE'], os.environ['LOCAL_RANK'], os.environ['MASTER_ADDR'],"
        " os.environ['OMP_NUM_THREADS']]))"
    )
    assert outcome(start(tmp_path, 3, code, OMP_NUM_THREADS="5")) == (0, "", "")
    assert [(tmp_path / str(rank)).read_text() for rank in range(3)] == [
        f"3 {rank} 127.0.0.1 5" for rank in range(3)
    ]


def test_the_output_of_the_first_process_alone_is_shown(tmp_path):
    assert outcome(start(tmp_path, 2, "print('from', rank)")) == (0, "from 0\n", "")


def test_an_error_of_all_processes_is_one_line(tmp_path):
    code = "print('error: no such file', file=sys.stderr); sys.exit(1)"
    assert outcome(start(tmp_path, 3, code)) == (1, "", "error: no such file\n")


def test_bad_flags_end_with_2(tmp_path):
    code = "rank == 0 and print('bad flag', file=sys.stderr); sys.exit(2)"
    assert outcome(start(tmp_path, 2, code)) == (2, "", "bad flag\n")


def test_an_error_of_another_process_is_shown_and_ends_all(tmp_path):
    code = (
        "if rank == 1:\n"
        "    print('a warning', file=sys.stderr)\n"
        "    print('error: p7.png is damaged', file=sys.stderr)\n"
        "    sys.exit(1)\n"
        "sys.exit(75)\n"
    )
    assert outcome(start(tmp_path, 3, code)) == (1, "", "error: p7.png is damaged\n")


def run_impatient(tmp_path, code):
    """Two processes of `code`, with half a second in place of the launcher's times."""
    script = tmp_path / "stage.py"
    script.write_text("import os, signal, sys, time\n" + code)
    impatient = (
        "import sys; from epsam.core import launcher\n"
        "launcher.ERROR_GRACE_S = launcher.STOP_GRACE_S = 0.5\n"
        "sys.exit(launcher.Launcher(2, sys.argv[1:]).run())\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", impatient, script],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stderr


def test_the_process_that_fails_first_is_named_and_not_one_that_had_to_be_killed_then(tmp_path):
    code = (
        "signal.signal(signal.SIGUSR2, signal.SIG_IGN)\n"
        "if os.environ['RANK'] == '1': sys.exit('error: p7.png is damaged')\n"
        "time.sleep(50)\n"
    )
    assert run_impatient(tmp_path, code) == (1, "error: p7.png is damaged\n")


@pytest.mark.parametrize("prepares", ["", "interrupt_on_stop_signals()\n"])
def test_a_process_that_does_not_notice_the_error_of_another_one_adds_no_line(tmp_path, prepares):
    ready = tmp_path / "ready"
    code = (
        "from epsam.core.signals import interrupt_on_stop_signals\n"
        f"{prepares}"
        "if os.environ['RANK'] == '1':\n"
        f"    while not os.path.exists(r'{ready}'): time.sleep(0.01)\n"
        "    sys.exit('error: p7.png is damaged')\n"
        f"open(r'{ready}', 'w').close()\n"
        "try: time.sleep(50)\n"
        # A slide that fails does not end the run.
        "except Exception: time.sleep(50)\n"
        f"finally: open(r'{tmp_path}/tidied', 'w').close()\n"
    )
    assert run_impatient(tmp_path, code) == (1, "error: p7.png is damaged\n")
    assert (tmp_path / "tidied").exists() == bool(prepares)


def test_a_process_that_is_killed_is_named(tmp_path):
    code = "rank == 1 and os.kill(os.getpid(), signal.SIGKILL); sys.exit(75)"
    code, output, errors = outcome(start(tmp_path, 2, code))
    assert (code, output) == (1, "")
    assert errors.startswith("error: process 2 of 2 was ended by signal 9; ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_request_to_stop_reaches_all_processes_and_ends_with_130(tmp_path, number):
    code = (
        "def stop(*_):\n"
        f"    open(r'{tmp_path}/stopped' + str(rank), 'w').close()\n"
        "    rank == 0 and print('interrupted')\n"
        "    sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "signal.signal(signal.SIGUSR1, stop)\n"
        f"open(r'{tmp_path}/ready' + str(rank), 'w').close()\n"
        "time.sleep(50)\n"
    )
    process = start(tmp_path, 2, code)
    wait_for(tmp_path / "ready0", tmp_path / "ready1")
    process.send_signal(number)
    assert outcome(process) == (130, "interrupted\n", "")
    assert (tmp_path / "stopped0").exists()
    assert (tmp_path / "stopped1").exists()


def test_a_process_that_is_stopped_alone_stops_all(tmp_path):
    code = (
        "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(130))\n"
        f"open(r'{tmp_path}/ready' + str(rank), 'w').close()\n"
        f"while not os.path.exists(r'{tmp_path}/ready0'): time.sleep(0.1)\n"
        "rank == 1 and sys.exit(130)\n"
        "time.sleep(50)\n"
    )
    assert outcome(start(tmp_path, 2, code))[0] == 130


def test_a_request_to_the_whole_group_reaches_each_process_once_as_itself(tmp_path):
    # A second SIGTERM would end a step before it is saved.
    code = (
        "numbers = []\n"
        "for number in (signal.SIGTERM, signal.SIGUSR1):\n"
        "    signal.signal(number, lambda number, _: numbers.append(number))\n"
        f"open(r'{tmp_path}/ready' + str(rank), 'w').close()\n"
        "ends = time.monotonic() + 10\n"
        "while len(set(numbers)) < 2 and time.monotonic() < ends: time.sleep(0.01)\n"
        "sys.exit(130 if sorted(numbers) == [signal.SIGUSR1, signal.SIGTERM] else 7)\n"
    )
    process = start(tmp_path, 2, code)
    wait_for(tmp_path / "ready0", tmp_path / "ready1")
    os.killpg(process.pid, signal.SIGTERM)
    assert outcome(process)[0] == 130


def test_processes_that_end_at_the_same_moment_are_all_counted(tmp_path):
    code = (
        f"open(r'{tmp_path}/' + str(os.getpid()) + '.pid', 'w').close()\n"
        f"while not os.path.exists(r'{tmp_path}/go'): time.sleep(0.01)\n"
        "sys.exit(130)\n"
    )
    process = start(tmp_path, 3, code)
    wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 3)
    pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
    # Whichever of them it then hears of first: all have ended before it can tell the others.
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: state_of(process.pid) == "T")
    (tmp_path / "go").touch()
    wait_until(lambda: [state_of(pid) for pid in pids] == ["Z"] * 3)
    process.send_signal(signal.SIGCONT)
    assert outcome(process) == (130, "", "")


@pytest.mark.parametrize("arguments", [[], ["2"], ["two", "x.py"], ["0", "x.py"]])
def test_arguments_that_are_none_end_with_2(arguments):
    command = [sys.executable, REPOSITORY / "src" / "start_processes.py", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "processes" in result.stderr


def wait_for(*paths):
    wait_until(lambda: all(path.exists() for path in paths))


def wait_until(is_true):
    ends = time.monotonic() + 50
    while not is_true():
        assert time.monotonic() < ends
        time.sleep(0.05)


def state_of(pid):
    """The letter of a process's state on Linux: T stopped, Z ended and not yet collected."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
