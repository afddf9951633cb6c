"""Ctrl-C, or a package that is missing, in the seconds in which a script imports its packages: one
line, as in `run_stage`.
"""

import sys
from pathlib import Path
from types import TracebackType

from epsam.core.import_errors import describe_import_error

INTERRUPTED = "interrupted; run the same command again to go on"


def shorten_interrupts(script_folder: Path) -> None:
    """Let Ctrl-C or a missing package end this process without a traceback if it runs a script of
    the folder.

    A program of the user's that imports the package keeps its own answers.
    """
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script and Path(script).resolve().parent == script_folder.resolve():
        sys.excepthook = _print_one_line


def _print_one_line(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print(INTERRUPTED, file=sys.stderr)
        return
    line = ""
    if isinstance(error, ImportError):
        line = describe_import_error(error, Path(sys.argv[0]))
    if line:
        print(line, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)
