"""The order of the tests: quick files first; where several run at a time, slow ones, so that none
is left to the end.
"""

import os
import signal

import pytest

LONGEST = (
    "test_scripts.py",
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow_files = {item.path for item in items if item.get_closest_marker("slow")}
    in_parallel = "PYTEST_XDIST_WORKER" in os.environ

    def rank(item: pytest.Item) -> tuple[bool, bool]:
        is_slow = item.path in slow_files
        return is_slow != in_parallel, in_parallel and item.path.name not in LONGEST

    items.sort(key=rank)
