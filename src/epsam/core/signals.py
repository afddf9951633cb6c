"""Requests to stop: Ctrl-C (SIGINT), and SIGTERM, which batch systems send before they kill.

The shell scripts and the launcher pass a request on as SIGUSR1. The process may get the same
request itself, before or after that, so the two count as one.
"""

import os
import signal
import threading
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PASSED_ON = signal.SIGUSR1
OTHER_FAILED = signal.SIGUSR2
"""From the launcher, to the processes of a stage of which another one has failed and says why."""
PROCESS_LOST_CODE = 75
"""Exit code of a process that ends because another one has ended."""
HEED_INTERRUPT = "EPSAM_HEED_INTERRUPT"
"""Environment variable of the scripts: bash has started this process with SIGINT ignored, which it
should not be.
"""
_STDERR = 2


def interrupt_on_stop_signals() -> None:
    """Let every request to stop raise KeyboardInterrupt in the running code, as Ctrl-C does."""
    requests = _Requests()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if requests.add(number):
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(PASSED_ON, interrupt)
    signal.signal(OTHER_FAILED, _end_silently)
    if os.environ.get(HEED_INTERRUPT):
        signal.signal(signal.SIGINT, interrupt)


def _end_silently(number: int, frame: FrameType | None) -> None:
    # Not an `Exception`: those are caught where one slide or patch may fail.
    raise SystemExit(PROCESS_LOST_CODE)


def ignore_stop_signals(*_: object) -> None:
    """For worker processes: a signal reaches the whole group, and the main process ends them."""
    for number in (*SIGNALS, PASSED_ON):
        signal.signal(number, signal.SIG_IGN)


def exit_silently_on_interrupt() -> None:
    """For worker processes without results worth keeping: end at Ctrl-C, without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class _Requests:
    """The requests to stop that have come, each perhaps both to this process and passed on."""

    def __init__(self) -> None:
        self._n_direct = 0
        self._n_passed_on = 0

    def add(self, number: int) -> bool:
        """Count a signal; whether it is a new request."""
        if number == PASSED_ON:
            self._n_passed_on += 1
            return self._n_passed_on == 1 and not self._n_direct
        self._n_direct += 1
        return self._n_direct > 1 or not self._n_passed_on


class StopRequests:
    """A `with` block that is not interrupted by the first signal to stop.

    The signal sets `requested`, which the block reads between steps; a second one raises
    KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.requested = False
        self._requests = _Requests()

    def __enter__(self) -> "StopRequests":
        # Python lets only the main thread set handlers; in another thread nothing is deferred.
        self._previous_handlers = {}
        if threading.current_thread() is threading.main_thread():
            for number in (*SIGNALS, PASSED_ON):
                self._previous_handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._requests.add(number):
            return
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        # os.write, not print: the signal may interrupt a print, which cannot be entered twice.
        os.write(_STDERR, b"\nstopping after this step; once more to stop at once\n")
