"""Another process that works in a folder."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import epsam

SOURCE = str(Path(epsam.__file__).parents[1])
HOLDER = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from epsam.core.locking import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), "x"):
    child = os.fork()
    if child:
        print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holding(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that claims `folder`, and a child of it that outlives its being killed, until the
    block ends.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), SOURCE],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()
