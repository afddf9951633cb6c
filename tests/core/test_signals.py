import os
import signal
import threading

import pytest

from epsam.core.signals import (
    HEED_INTERRUPT,
    PASSED_ON,
    SIGNALS,
    StopRequests,
    interrupt_on_stop_signals,
)

EVERY = (*SIGNALS, PASSED_ON)


@pytest.fixture
def handlers():
    """The handlers of this process, put back after the test."""
    before = {number: signal.getsignal(number) for number in EVERY}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


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


@pytest.mark.parametrize("number", [signal.SIGTERM, PASSED_ON])
def test_a_request_to_stop_interrupts_where_the_program_stands(number, handlers):
    interrupt_on_stop_signals()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)


def test_what_a_script_passes_on_is_no_second_request(handlers):
    interrupt_on_stop_signals()
    with StopRequests() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), PASSED_ON)
        assert stop.requested
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), PASSED_ON)


def test_ctrl_c_that_the_shell_ignores_is_heeded_if_the_script_says_so(handlers, monkeypatch):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interrupt_on_stop_signals()
    os.kill(os.getpid(), signal.SIGINT)
    monkeypatch.setenv(HEED_INTERRUPT, "1")
    interrupt_on_stop_signals()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_request_that_was_passed_on_before_it_reaches_the_process_itself_counts_once(handlers):
    interrupt_on_stop_signals()
    with StopRequests() as stop:
        os.kill(os.getpid(), PASSED_ON)
        assert stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), PASSED_ON)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
