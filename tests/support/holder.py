"""Another process that works in a folder."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import epsam

SOURCE = str(Path(epsam.__file__).parents[1])
LOCK = """
from epsam.core.locking import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), "x")
"""
CLAIM = """
from epsam.core.claims import hold_claim
with hold_claim(Path(sys.argv[1]))
"""
HOLDER = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
{hold}:
    child = os.fork()
    if child:
        print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holding(folder: Path, hold: str = LOCK) -> Iterator["subprocess.Popen[str]"]:
    """A process that locks `folder`, or holds it as `hold` says, and a child of it that outlives
    its being killed, until the block ends.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(hold=hold.strip()), str(folder), SOURCE],
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
