"""Being asked to stop: Ctrl-C (SIGINT) and SIGTERM, which batch systems send before they kill."""

import os
import signal
import threading
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STDERR = 2


def raise_keyboard_interrupt(number: int, frame: FrameType | None) -> None:
    """A signal handler that raises KeyboardInterrupt where the program stands."""
    raise KeyboardInterrupt


def ignore_stop_signals(*_: object) -> None:
    """For worker processes: a signal to the whole group is the main process's affair, which ends
    its workers.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def exit_silently_on_interrupt() -> None:
    """For worker processes whose half-done work is worth nothing: end at Ctrl-C, without a
    traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class StopRequests:
    """A `with` block in which a request to stop is noted in `requested` and left to the block; a second
    one ends it.
    """

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> "StopRequests":
        # Only the main thread may set handlers; in another one nothing is deferred.
        main = threading.current_thread() is threading.main_thread()
        self._before = (
            {number: signal.signal(number, self._note) for number in SIGNALS} if main else {}
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        # Not print: the signal may have come in the middle of one.
        os.write(_STDERR, b"\nstopping after this step; once more to stop at once\n")
