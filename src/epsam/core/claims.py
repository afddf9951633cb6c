"""Claims on pieces of work that processes, perhaps of several machines, take from one folder.

A claim is a folder with one file in it, named after its holder. It appears by one rename with its
file inside, which fails where there is a claim already. The file of a holder that is gone is
renamed, which takes its claim from it, and removed once what the holder has left is cleaned up; the
folder is then claimed anew by a rename as above: of several processes that try, one succeeds.
"""

import errno
import fcntl
import logging
import os
import shutil
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
_LOST = ".lost"
"""Suffix of the file of a holder that is gone."""

CleanUp = Callable[[str], None]
"""Removes what a holder that is gone has left, by its token; several processes may do so."""

_held_files: set[str] = set()
"""Names of the files of claims that this process holds or is about to take. POSIX locks are the
process's, so that none of them tells its own claims from those of an ended process of its number.
"""


class Claim:
    """A claim that this process holds. `token` is unique to it."""

    def __init__(self, file: Path, stream: IO[str]) -> None:
        self._file = file
        # Open for as long as the claim is held: its lock shows other processes of this machine
        # that this one is alive.
        self._stream = stream

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
        # Closed first: NFS keeps a removed file that is open, under another name, and the folder
        # with it. Whoever takes this process for one that has ended now may take the claim.
        self._stream.close()
        self._file.unlink(missing_ok=True)
        try:
            self._file.parent.rmdir()
        except OSError as error:
            # Another process has claimed it a moment ago.
            log.debug("%s: %s", self._file.parent, error)
        _held_files.discard(self._file.name)


def _leave_all(token: str) -> None:
    """Clean nothing up."""


@contextmanager
def hold_claim(folder: Path, clean_up: CleanUp = _leave_all) -> Iterator[Claim]:
    """Hold the claim that `folder` stands for while the block runs, with a heartbeat.

    clean_up: as in `take_claim`. Raises BusyError if another process holds it.
    """
    claim = take_claim(folder, clean_up)
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


def take_claim(folder: Path, clean_up: CleanUp = _leave_all) -> Claim:
    """Claim `folder`, or take the claim over from a holder that is gone, and clean up after that.

    A holder is gone if it was a process of this machine that has ended, or if its claim is older
    than `STALE_S` by the file system's clock. Raises BusyError if another process holds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    name = f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:12]}"
    staging = folder.parent / f".{_token_of(Path(name))}.part"
    staging.mkdir()
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, staging, ignore_errors=True)
        _held_files.add(name)
        undo.callback(_held_files.discard, name)
        (staging / name).touch()
        stream, _ = _open_locked(staging / name)
        undo.callback(stream.close)
        # Any machine may have another time than the file system.
        now = (staging / name).stat().st_mtime
        for _ in range(_ATTEMPTS):
            # With its own file, whose lock nobody else has ever had.
            if _rename(staging, folder):
                undo.pop_all()
                return Claim(folder / name, stream)
            _remove_if_gone(folder, now, clean_up)
    raise BusyError("in use by others, which take it and give it up all the time")


def _remove_if_gone(folder: Path, now: float, clean_up: CleanUp) -> None:
    """Remove the claim of a holder that is gone, unless another process has done so, or the holder
    has given it up.

    now: the file system's time in seconds. Raises BusyError if the holder is alive.
    """
    try:
        holder = _find_holder(folder)
        if holder is None:
            return
        if holder.suffix != _LOST:
            if not _is_gone(holder, now):
                raise _busy(holder)
            # Lost before anything of it is removed. By its name: a newer claim has another one.
            holder = holder.rename(holder.with_name(holder.name + _LOST))
        # Before the file goes: if this process is killed, the next one cleans up.
        clean_up(_token_of(holder))
        holder.unlink()
    except FileNotFoundError:
        return


def _find_holder(folder: Path) -> Path | None:
    """The file of the claim's holder; None if there is none."""
    for path in folder.iterdir():
        # NFS keeps a removed file as .nfs… while a process has it open.
        if not path.name.startswith("."):
            return path
    return None


def _is_gone(holder: Path, now: float) -> bool:
    if _is_of_this_process(holder):
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


def _is_of_this_process(holder: Path) -> bool:
    """Whether this process holds the claim, and not an ended one that had its number."""
    # A process may lock again what it has locked itself, and would unlock it by closing it.
    is_same_number = holder.name.rsplit(".", 1)[0] == f"{socket.gethostname()}.{os.getpid()}"
    # A forked process has the names of its parent's claims, too.
    return is_same_number and holder.name in _held_files


def _busy(holder: Path) -> BusyError:
    host, process, _ = holder.name.rsplit(".", 2)
    return BusyError(f"in use by process {process} on {host}")


def _token_of(file: Path) -> str:
    return file.name.removesuffix(_LOST).rsplit(".", 1)[-1]
