"""Large public files: fetched in pieces, resumed after an interruption, checked, then renamed."""

import hashlib
import http.client
import logging
import shutil
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from epsam.core.errors import DatasetError

log = logging.getLogger(__name__)

TIMEOUT_S = 60
BLOCK_BYTES = 1 << 20
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, OSError)


@dataclass(frozen=True)
class RemoteFile:
    """A file as its home lists it: `path` is where it goes below the data set's folder."""

    path: str
    url: str
    size: int
    md5: str = ""


def read_remote(url: str) -> bytes:
    """The whole answer of a small page.

    Raises DatasetError if the address cannot be read.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return bytes(answer.read())
    except NETWORK_ERRORS as error:
        raise DatasetError(f"{url}: cannot be read ({_reason(error)})") from error


def is_complete(remote: RemoteFile, folder: Path) -> bool:
    """Whether the file is there in its full size; `check_md5` looks at its content."""
    target = folder / remote.path
    return target.is_file() and target.stat().st_size == remote.size


def fetch_files(files: Sequence[RemoteFile], folder: Path) -> None:
    """Fetch all files that are not complete yet, one after the other.

    Raises DatasetError if the disk is too small for the rest, or if a file cannot be fetched or is
    not what its home lists. What was fetched until then stays, and the next call goes on from it.
    """
    missing = [remote for remote in files if not is_complete(remote, folder)]
    log.info("%s: %d of %d files are complete", folder, len(files) - len(missing), len(files))
    folder.mkdir(parents=True, exist_ok=True)
    _check_room(missing, folder)

    for number, remote in enumerate(missing, start=1):
        log.info("%d/%d  %s  %s", number, len(missing), format_size(remote.size), remote.path)
        fetch_file(remote, folder)


def fetch_file(remote: RemoteFile, folder: Path) -> None:
    """Fetch one file; it appears under its name only when size and checksum are right.

    Raises DatasetError as `fetch_files` does.
    """
    target = folder / remote.path
    partial = target.with_name(f".{target.name}.download")
    partial.parent.mkdir(parents=True, exist_ok=True)

    try:
        _append_rest(remote, partial)
    except NETWORK_ERRORS as error:
        raise DatasetError(
            f"{remote.url}: broken off after {format_size(_size_of(partial))} of "
            f"{format_size(remote.size)} ({_reason(error)}); run the same command again to go on"
        ) from error

    problem = _find_problem(remote, partial)
    if problem:
        # Whatever is wrong with it would be in every later try as well.
        partial.unlink()
        raise DatasetError(f"{remote.url}: {problem}; it was not kept, run the command again")
    partial.replace(target)


def check_md5(files: Sequence[RemoteFile], folder: Path) -> list[str]:
    """The paths of files whose content is not what their home lists; those without a sum pass."""
    damaged = []
    for remote in tqdm(files, desc="checksums", unit="file", disable=None):
        if remote.md5 and md5_of(folder / remote.path) != remote.md5:
            damaged.append(remote.path)
    return damaged


def md5_of(path: Path) -> str:
    """Hex MD5 of a file, which is what the homes of public data sets list."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def format_size(size: int) -> str:
    """Bytes as people read them, such as 1.4 GB."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def _append_rest(remote: RemoteFile, partial: Path) -> None:
    """Fetch the bytes that the partial file still lacks, and append them to it."""
    start = _size_of(partial)
    if start >= remote.size:
        return
    request = urllib.request.Request(remote.url, headers={"Range": f"bytes={start}-"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        # A server that does not know ranges answers 200 and sends the whole file.
        resumes = answer.status == http.client.PARTIAL_CONTENT
        with (
            partial.open("ab" if resumes else "wb") as stream,
            tqdm(
                total=remote.size,
                initial=start if resumes else 0,
                unit="B",
                unit_scale=True,
                desc=Path(remote.path).name,
                disable=None,
            ) as bar,
        ):
            while block := answer.read(BLOCK_BYTES):
                bar.update(stream.write(block))
    if _size_of(partial) < remote.size:
        raise http.client.IncompleteRead(b"", remote.size - _size_of(partial))


def _find_problem(remote: RemoteFile, partial: Path) -> str:
    """What is wrong with a fetched file; empty if nothing is."""
    size = _size_of(partial)
    if size != remote.size:
        return f"{size} bytes, expected {remote.size}"
    if remote.md5:
        md5 = md5_of(partial)
        if md5 != remote.md5:
            return f"MD5 is {md5}, expected {remote.md5}"
    return ""


def _check_room(missing: Sequence[RemoteFile], folder: Path) -> None:
    needed = 0
    for remote in missing:
        target = folder / remote.path
        needed += remote.size - _size_of(target.with_name(f".{target.name}.download"))
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DatasetError(
            f"{folder}: {format_size(needed)} are still to be fetched, {format_size(free)} are "
            "free; free some, or name a handful with --only"
        )


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _reason(error: BaseException) -> str:
    return str(getattr(error, "reason", None) or error or type(error).__name__)
