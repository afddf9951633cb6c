"""A lock that lets one process at a time work in a folder."""

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from epsam.core.errors import BusyError

log = logging.getLogger(__name__)

LOCK_FILE = ".lock"
# What a network file system without locks answers.
_LOCKS_UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def exclusive_lock(folder: Path, hint: str) -> Iterator[None]:
    """Lock `folder`, which is created if missing, while the block runs.

    The operating system holds the lock, so it ends with the process, even if that is killed. hint:
    what else a user can do, for the error message. Raises BusyError if another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("a+", encoding="utf-8") as stream:
        try:
            # lockf, not flock: worker processes would inherit a flock, and outlive a killed parent
            # by some seconds.
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _LOCKS_UNSUPPORTED:
                raise BusyError(
                    f"{folder}: in use by another run ({_holder(folder)}); wait for it to end, "
                    f"or {hint}"
                ) from error
            log.warning(
                "%s: this file system cannot lock; take care that only one run works there", folder
            )
        stream.truncate(0)
        try:
            # os.write, not stream.write: on a full disk the stream would try again, and fail, when
            # it is closed.
            os.write(stream.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        except OSError as error:
            error.filename = stream.name
            raise
        try:
            yield
        finally:
            stream.truncate(0)


def _holder(folder: Path) -> str:
    """The process that holds the lock, as it wrote itself into the file."""
    text = (folder / LOCK_FILE).read_text("utf-8", errors="replace").strip()
    return text[:100] or "of unknown number"
