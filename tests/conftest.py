"""The order of the tests: fast files first; where several run at a time, slow ones, so that none is
left to the end.
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
"""Slow files that take minutes each: begun last, one of them would run on alone."""


def pytest_configure() -> None:
    # A script that starts the tests in the background has Ctrl-C ignored in them and all that they
    # start, for good.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    first = "PYTEST_XDIST_WORKER" in os.environ
    items.sort(
        key=lambda item: ((item.path in slow) != first, first and item.path.name not in LONGEST)
    )
