"""Start a stage in several processes on one machine, pass requests to stop on to them, and end with
one message and one exit code.

The stage reads the variables that torchrun and srun set, too (`epsam.core.distributed`).
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType

from epsam.core.early_interrupt import INTERRUPTED
from epsam.core.signals import HEED_INTERRUPT, OTHER_FAILED, PASSED_ON, PROCESS_LOST_CODE

FAILED = 1
INTERRUPTED_CODE = 130
STOP_GRACE_S = 60.0
"""This project: how long processes may take to save what is done."""
ERROR_GRACE_S = 5.0
"""This project: how long processes may take to notice that another one has failed."""
_BY_REQUEST = (INTERRUPTED_CODE, -PASSED_ON, -signal.SIGINT, -signal.SIGTERM)


class Launcher:
    """`size` processes of one command; the output of the first is shown, of others what matters."""

    def __init__(self, size: int, command: Sequence[str]) -> None:
        self._size = size
        self._command = list(command)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._outputs: list[Path] = []
        self._codes: dict[int, int] = {}
        self._timers: list[threading.Timer] = []
        self._killed: set[int] = set()
        self._is_stopping = False
        self._n_terminations = 0

    def run(self) -> int:
        """Start all processes and wait for them; returns the exit code for the user, after at most
        one line.
        """
        for number in (signal.SIGINT, signal.SIGTERM, PASSED_ON):
            # bash starts background commands with Ctrl-C ignored, and says if it is to be heeded.
            if signal.getsignal(number) != signal.SIG_IGN or os.environ.get(HEED_INTERRUPT):
                signal.signal(number, self._pass_on)
        with ExitStack() as files:
            self._start(files)
            self._wait()
            return self._conclude()

    def _start(self, files: ExitStack) -> None:
        port = _free_port()
        folder = Path(files.enter_context(tempfile.TemporaryDirectory()))
        for rank in range(self._size):
            output = folder / f"{rank}.txt"
            stream = files.enter_context(output.open("wb")) if rank else None
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, *self._command],
                    env=_variables(rank, self._size, port),
                    stdout=stream,
                    stderr=stream,
                )
            )
            self._outputs.append(output)
        if self._is_stopping:
            self._send(PASSED_ON)

    def _wait(self) -> None:
        by_pid = {process.pid: rank for rank, process in enumerate(self._processes)}
        while len(self._codes) < self._size:
            pid, status = os.wait()
            rank = by_pid[pid]
            code = os.waitstatus_to_exitcode(status)
            self._processes[rank].returncode = self._codes[rank] = code
            if code and not self._timers:
                self._end_others(code)
        for timer in self._timers:
            timer.cancel()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._is_stopping = True
        self._n_terminations += number == signal.SIGTERM
        # Ctrl-C reaches the processes, too, and so does SIGTERM to the whole group. The signal that
        # is passed on counts once with them. A second SIGTERM is to end them at once.
        is_urgent = number == signal.SIGTERM and self._n_terminations > 1
        self._send(signal.SIGTERM if is_urgent else PASSED_ON)

    def _end_others(self, code: int) -> None:
        """After the first process that has failed or was stopped."""
        if code in _BY_REQUEST:
            if not self._is_stopping:
                self._send(PASSED_ON)
            self._later(STOP_GRACE_S, signal.SIGKILL)
        else:
            self._later(ERROR_GRACE_S, OTHER_FAILED)
            self._later(ERROR_GRACE_S + STOP_GRACE_S, signal.SIGKILL)

    def _later(self, seconds: float, number: int) -> None:
        timer = threading.Timer(seconds, self._send, [number])
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def _send(self, number: int) -> None:
        for rank, process in enumerate(self._processes):
            if rank in self._codes:
                continue
            if number == signal.SIGKILL:
                self._killed.add(rank)
            # Not `send_signal`: it would collect the exit code of a process that has just ended,
            # for which `_wait` then waits in vain.
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)

    def _conclude(self) -> int:
        """The exit code, and a line where the first process has not said why."""
        consequences = (0, PROCESS_LOST_CODE, -OTHER_FAILED, *_BY_REQUEST)
        # In the order in which they have ended: the first is the cause.
        failed: list[int] = []
        for rank, code in self._codes.items():
            # One that was killed here took too long to end.
            if code not in consequences and rank not in self._killed:
                failed.append(rank)
        if failed:
            # What the first process says is shown already.
            return self._report_failure(0 if self._codes[0] > 0 and 0 in failed else failed[0])
        if self._is_stopping or any(code in _BY_REQUEST for code in self._codes.values()):
            if self._codes[0] != INTERRUPTED_CODE:
                print(INTERRUPTED, file=sys.stderr)
            return INTERRUPTED_CODE
        if any(self._codes.values()):
            print("error: the processes have lost each other; run it again", file=sys.stderr)
            return FAILED
        return 0

    def _report_failure(self, rank: int) -> int:
        code = self._codes[rank]
        if code < 0:
            print(
                f"error: process {rank + 1} of {self._size} was ended by signal {-code}; if the "
                "memory was too small, start fewer processes",
                file=sys.stderr,
            )
            return FAILED
        if rank > 0:
            text = self._outputs[rank].read_text("utf-8", errors="replace").strip()
            # A traceback is printed where --debug or an error of the program asks for it.
            print(text if "Traceback" in text else text[text.rfind("\n") + 1 :], file=sys.stderr)
        return code


def _variables(rank: int, size: int, port: int) -> dict[str, str]:
    variables = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    # Each process would otherwise start as many threads as there are cores.
    threads = max(1, (os.cpu_count() or 1) // size)
    variables.setdefault("OMP_NUM_THREADS", str(threads))
    return variables


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
    return port
