"""Files written completely or not at all, CSV tables, JSON, and checksums."""

import csv
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from epsam.core.errors import DatasetError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk, or of a user's full quota."""
NO_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Error numbers of a file or folder that this user may not read or write."""

_QUICK_HASH_BYTES = 1 << 16


@contextmanager
def whole_file(target: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `target`, and move it to `target` when the block succeeds.

    durable: flush the content to the disk before the move, so that a power cut leaves no empty
    file. Pass False only where a damaged file is noticed and written again anyway.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays, since some writers choose the format by it. The token keeps two processes,
    # perhaps of two machines, out of each other's file.
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}")
    try:
        yield temporary
        if durable:
            _flush(temporary)
        temporary.replace(target)
    except OSError as error:
        _set_file_name(error, target, temporary)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _set_file_name(error: OSError, target: Path, written: Path) -> None:
    """Put the target into an error: a failing write names no file, or the temporary one."""
    if error.errno and str(error.filename or written) == str(written):
        error.filename = str(target)


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def write_bytes(target: Path, content: bytes | memoryview, durable: bool = True) -> None:
    """Write `content` to `target`, completely or not at all; durable: as in `whole_file`."""
    with whole_file(target, durable) as temporary:
        temporary.write_bytes(content)


def write_text(target: Path, content: str) -> None:
    """Write UTF-8 text to `target`, completely or not at all."""
    write_bytes(target, content.encode("utf-8"))


def append_text(target: Path, content: str) -> None:
    """Append UTF-8 text to `target`; if the process is killed, a part of it may be written."""
    try:
        with target.open("a", encoding="utf-8") as stream:
            stream.write(content)
    except OSError as error:
        _set_file_name(error, target, target)
        raise


def write_json(target: Path, content: Any) -> None:
    """Write `content` as indented JSON, completely or not at all."""
    write_text(target, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(source: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises DatasetError if the file holds anything else."""
    try:
        content = json.loads(source.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{source}: not readable as JSON ({error}); remove it or write it again"
        ) from error
    if not isinstance(content, dict):
        raise DatasetError(
            f"{source}: holds a {type(content).__name__}, not a table; remove it or write it again"
        )
    return content


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed writers under `folder`.

    Call it only while no other process writes there (`exclusive_lock`).
    """
    for path in folder.rglob(".*.part*"):
        path.unlink(missing_ok=True)


def write_table(target: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows as CSV with a header; a column that a row lacks stays empty."""
    with (
        whole_file(target) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.DictWriter(stream, fieldnames=list(columns), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_table(source: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV file, as {column: text}.

    Raises DatasetError if the file is not UTF-8 CSV, if a required column is missing, or if a row
    has too few or too many fields.
    """
    try:
        # utf-8-sig also reads what spreadsheets save with a byte order mark.
        with source.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            rows = list(reader)
            columns = list(reader.fieldnames or [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"{source}: not a CSV table in UTF-8 ({error}); write it again"
        ) from error

    missing = [name for name in required if name not in columns]
    if missing:
        raise DatasetError(
            f"{source}: no column {', '.join(missing)}; found {', '.join(columns) or 'nothing'}"
        )

    # DictReader marks surplus fields by the key None, and missing ones by the value None.
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise DatasetError(
                f"{source} line {number}: {len(columns)} fields expected; correct the line"
            )
    return rows


def read_numbers(
    source: Path,
    required: Sequence[str],
    numbers: Mapping[str, Callable[[str], object]],
    remedy: str,
) -> list[dict[str, str]]:
    """As `read_table`, and check the columns of `numbers`: {column: function that reads a field}.

    Raises DatasetError also for a field that its function cannot read. remedy: what else than
    correcting the line helps, for the error message.
    """
    rows = read_table(source, required)
    for number, row in enumerate(rows, start=2):
        for column, read in numbers.items():
            try:
                read(row[column])
            except (ValueError, OverflowError) as error:
                raise DatasetError(
                    f"{source} line {number}: {column} is {row[column]!r}, "
                    f"not the number it should be; correct the line or {remedy}"
                ) from error
    return rows


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's content, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def digest_of_names_and_sizes(files: Iterable[Path]) -> str:
    """A digest of names and sizes, where reading all bytes would take too long."""
    return digest_of(f"{path.name}:{path.stat().st_size}" for path in files)


def file_size(path: Path) -> int:
    """Bytes of a file."""
    return path.stat().st_size


def quick_hash(path: Path) -> str:
    """A digest of a large file's size, first and last 64 KiB; reading all takes too long."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        first = stream.read(_QUICK_HASH_BYTES)
        stream.seek(max(size - _QUICK_HASH_BYTES, 0))
        last = stream.read(_QUICK_HASH_BYTES)
    return hashlib.sha256(b"%d:" % size + first + last).hexdigest()


def digest_of_files(files: Iterable[Path]) -> str:
    """A digest of the names and contents of files."""
    return digest_of(f"{path.name}:{sha256_of(path)}" for path in files)


def digest_of(lines: Iterable[str]) -> str:
    """Hex SHA-256 of lines of text."""
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()
