import os
import signal
import threading

import pytest

from epsam.core.signals import SIGNALS, StopRequests, raise_keyboard_interrupt


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_request_is_noted_and_the_second_ends_the_block(number, capfd):
    before = signal.getsignal(number)
    with StopRequests() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
    assert "once more to stop at once" in capfd.readouterr().err


def test_in_another_thread_nothing_is_deferred_and_nothing_breaks():
    before, states = signal.getsignal(signal.SIGTERM), []

    def work():
        with StopRequests() as stop:
            states.append((stop.requested, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert states == [(False, before)]


def test_the_plain_handler_interrupts_where_the_program_stands():
    with pytest.raises(KeyboardInterrupt):
        raise_keyboard_interrupt(signal.SIGTERM, None)
