"""The order of the tests: quick files first; where several run at a time, slow ones, so that none
is left to the end.
"""

import os
import signal
import sys
from collections.abc import Iterator

import pytest

LONGEST = (
    "test_scripts.py",
    "test_methods.py",
    "test_traps.py",
    "test_ablate.py",
    "test_same_numbers.py",
    "test_infer_slides.py",
)
"""Slow files that take minutes each: started last, a single one would run on alone."""


def pytest_configure() -> None:
    # A script that starts the tests in the background makes them, and every process that they
    # start, ignore Ctrl-C; the tests of interruption need it.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """Handlers of signals as they were: a stage that ends at Ctrl-C ignores all further ones, and
    what later tests start would inherit that.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def equal_weights_in_every_run() -> None:
    """Networks that a test builds without a seed of its own have the same weights each time."""
    # Many tests, and what they test, do without PyTorch.
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow_files = {item.path for item in items if item.get_closest_marker("slow")}
    in_parallel = "PYTEST_XDIST_WORKER" in os.environ

    def rank(item: pytest.Item) -> tuple[bool, bool]:
        is_slow = item.path in slow_files
        return is_slow != in_parallel, in_parallel and item.path.name not in LONGEST

    items.sort(key=rank)
