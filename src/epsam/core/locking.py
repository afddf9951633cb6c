"""One process at a time in a folder."""

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

NAME = ".lock"
_NO_LOCKS_HERE = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def exclusive_lock(folder: Path, hint: str) -> Iterator[None]:
    """Keep other processes out of `folder`, which is made if absent, for as long as the block or
    this process lives.

    The claim is the system's, not the file's: a process that was killed keeps none. Raises
    BusyError, which says what else to do (`hint`), if another process holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / NAME).open("a+", encoding="utf-8") as stream:
        try:
            # Not flock: that would live on in worker processes which outlast a killed parent by
            # some seconds.
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS_HERE:
                raise BusyError(
                    f"{folder}: in use by another run ({_holder(folder)}); wait for it to end, "
                    f"or {hint}"
                ) from error
            log.warning(
                "%s: this file system cannot lock; take care that only one run works there", folder
            )
        stream.truncate(0)
        try:
            # Not the stream's own write, which would try once more, and fail, when the file is
            # closed.
            os.write(stream.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        except OSError as error:
            error.filename = stream.name
            raise
        try:
            yield
        finally:
            stream.truncate(0)


def _holder(folder: Path) -> str:
    return (folder / NAME).read_text("utf-8", errors="replace").strip()[:100] or "of unknown number"
