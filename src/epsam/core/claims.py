"""Claims on pieces of work that processes, perhaps of several machines, take from one folder.

A claim is a folder with one file in it, named after its holder. It appears by one rename with its
file inside, which fails where there is a claim already. The file of a holder that is gone is
removed, and the folder claimed anew by such a rename: of several processes that try, one succeeds.
"""

import errno
import fcntl
import logging
import os
import shutil
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from epsam.core.errors import BusyError, ClaimLostError

log = logging.getLogger(__name__)

HEARTBEAT_S = 30.0
"""This project: how often a holder shows that it is alive."""
STALE_S = 600.0
"""This project: a claim without a sign of life for so long is taken over."""
_ATTEMPTS = 5
"""This project: a claim may be given up, and taken anew, while it is looked at."""


class Claim:
    """A claim that this process holds. `token` is unique to it."""

    def __init__(self, file: Path, stream: IO[str], previous: str = "") -> None:
        """previous: the token of the holder that it was taken over from; empty: there was none."""
        self._file = file
        # Open for as long as the claim is held: its lock shows other processes of this machine
        # that this one is alive.
        self._stream = stream
        self.previous = previous

    @property
    def token(self) -> str:
        """What is unique to this claim, and may be a part of a file's name."""
        return _token_of(self._file)

    def is_held(self) -> bool:
        """Whether no other process has taken the claim over."""
        return self._file.exists()

    def require_held(self) -> None:
        """Raise ClaimLostError if another process has taken the claim over."""
        if not self.is_held():
            raise ClaimLostError(
                f"{self._file.parent.name}: another process has taken it over, as this one gave no "
                "sign of life; its results are the ones that count"
            )

    def beat(self) -> None:
        """Show that this process is alive."""
        try:
            # No time is given: it is that of the file system, as for all other holders.
            os.utime(self._file)
        except OSError as error:
            # A claim that is lost is noticed before results are published.
            log.debug("%s: %s", self._file, error)

    def give_up(self) -> None:
        """Remove the claim; does nothing to one that was lost."""
        self._file.unlink(missing_ok=True)
        try:
            self._file.parent.rmdir()
        except OSError as error:
            # Another process has claimed it a moment ago.
            log.debug("%s: %s", self._file.parent, error)
        self._stream.close()


@contextmanager
def hold_claim(folder: Path) -> Iterator[Claim]:
    """Hold the claim that `folder` stands for while the block runs, with a heartbeat.

    Raises BusyError if another process holds it.
    """
    claim = take_claim(folder)
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(HEARTBEAT_S):
            claim.beat()

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield claim
    finally:
        is_over.set()
        heart.join()
        claim.give_up()


def take_claim(folder: Path) -> Claim:
    """Claim `folder`, or take the claim over from a holder that is gone.

    A holder is gone if it was a process of this machine that has ended, or if its claim is older
    than `STALE_S` by the file system's clock. Raises BusyError if another process holds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    name = f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:12]}"
    staging = folder.parent / f".{_token_of(Path(name))}.part"
    staging.mkdir()
    try:
        (staging / name).touch()
        stream, _ = _open_locked(staging / name)
        try:
            # Any machine may have another time than the file system.
            now = (staging / name).stat().st_mtime
            previous = ""
            for _ in range(_ATTEMPTS):
                # With its own file, whose lock nobody else has ever had.
                if _rename(staging, folder):
                    return Claim(folder / name, stream, previous)
                previous = _remove_if_gone(folder, now) or previous
        except BaseException:
            stream.close()
            raise
        stream.close()
        raise BusyError("in use by others, which take it and give it up all the time")
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _remove_if_gone(folder: Path, now: float) -> str:
    """Remove the file of a holder that is gone, and return its token; "" if another process has
    done so, or the holder has given the claim up.

    now: the file system's time in seconds. Raises BusyError if the holder is alive.
    """
    try:
        holder = next(folder.iterdir(), None)
        if holder is None:
            return ""
        if not _is_gone(holder, now):
            raise _busy(holder)
        # By the name of its holder: a newer claim has another one.
        holder.unlink()
    except FileNotFoundError:
        return ""
    return _token_of(holder)


def _is_gone(holder: Path, now: float) -> bool:
    if _is_this_process(holder):
        return False
    stream, is_locked = _open_locked(holder)
    stream.close()
    has_ended = is_locked and holder.name.rsplit(".", 2)[0] == socket.gethostname()
    return has_ended or now - holder.stat().st_mtime > STALE_S


def _rename(staging: Path, folder: Path) -> bool:
    """Rename a folder; False if there is one of that name with something in it."""
    try:
        staging.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _open_locked(path: Path) -> tuple[IO[str], bool]:
    """The file, open and locked; the lock fails if its holder runs on this machine, and where the
    file system cannot lock.
    """
    stream = path.open("r+", encoding="utf-8")
    try:
        # lockf, not flock: a process that the holder has started would inherit a flock.
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return stream, False
    return stream, True


def _is_this_process(holder: Path) -> bool:
    # A process may lock again what it has locked itself.
    return holder.name.rsplit(".", 1)[0] == f"{socket.gethostname()}.{os.getpid()}"


def _busy(holder: Path) -> BusyError:
    host, process, _ = holder.name.rsplit(".", 2)
    return BusyError(f"in use by process {process} on {host}")


def _token_of(file: Path) -> str:
    return file.name.rsplit(".", 1)[-1]
