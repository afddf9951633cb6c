"""A question to whoever sits at the terminal."""

import dataclasses
import os
import sys
from collections.abc import Callable
from typing import Any

from epsam.core.errors import FinishedWorkError

TERMINAL = "/dev/tty"


def run_or_ask(main: Callable[[Any], None], options: Any) -> None:
    """Run `main`; if finished work stands in its way, ask at the terminal whether to replace it."""
    try:
        main(options)
    except FinishedWorkError as error:
        if not confirm(f"{error.work}. Replace it?"):
            raise
        main(dataclasses.replace(options, replace=True))


def confirm(question: str) -> bool:
    """Whether somebody at the terminal answers yes; False, without a question, if nobody can."""
    # The scripts give a stage no standard input, and its output goes through a log; the terminal
    # itself is behind both. Without one behind stderr, nobody would see the question.
    if not sys.stderr.isatty():
        return False
    try:
        terminal = os.open(TERMINAL, os.O_RDWR)
    except OSError:
        return False
    with os.fdopen(terminal, "rb", buffering=0) as stream:
        # The system stops a process in the background that reads from its terminal.
        if os.tcgetpgrp(terminal) != os.getpgrp():
            return False
        os.write(terminal, f"{question} [y/N] ".encode())
        answer = stream.readline()
    return answer.decode(errors="replace").strip().lower() in ("y", "yes")
