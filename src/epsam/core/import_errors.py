"""A package that is missing or broken, as one line that says which Python lacks it."""

import os
import shlex
import sys
from pathlib import Path

_ENVIRONMENT = Path(".venv", "bin", "python")
_MODULES_HERE = ("epsam", "demo")


def describe_import_error(error: ImportError, script: Path) -> str:
    """The line for the user; "" for an error in this repository's code.

    script: the script that runs, in src/ of the repository.
    """
    package = (error.name or "").split(".")[0]
    if package in _MODULES_HERE:
        return ""
    if isinstance(error, ModuleNotFoundError):
        problem = f"package {package} is not installed in {sys.executable}"
    else:
        reason = " ".join(str(error).split())
        problem = f"package {package or 'of Python'} of {sys.executable} is broken ({reason})"
    return f"error: {problem}; {_advise(script)}"


def _advise(script: Path) -> str:
    root = script.resolve().parents[1]
    python = root / _ENVIRONMENT
    # sys.executable itself may be a link to the same file, with other packages.
    if python.is_file() and Path(sys.prefix).resolve() != python.parents[1].resolve():
        words = (os.path.relpath(python), os.path.relpath(script))
        return f"use the environment of train.sh: {shlex.join(words)}"
    requirements = os.path.relpath(root / "requirements.txt")
    return f"run: {shlex.join((sys.executable, '-m', 'pip', 'install', '-r', requirements))}"
