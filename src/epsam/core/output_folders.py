"""Where a script may write: never into its input, and never among files that are not its results.

A script that writes results claims its folder first. The mark that it leaves there also tells
predictions from ground truth.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from epsam.core.errors import DatasetError
from epsam.core.files import read_json, write_json

MARK_FILE = ".results.json"
RECORD_FILE = "record.json"
INFERENCE = "infer"

_EARLIER_MARKS: dict[str, tuple[str, ...]] = {
    INFERENCE: (".finished.jsonl", ".locks", ".claims"),
    "compare": ("compare.md",),
    "ablate": ("tables", "*/seed_*"),
    "make_demo_slides": ("seed.txt",),
    "get_data": ("cases.csv", "source", "images", "annotations"),
}
"""By stage: patterns of files that versions without a mark have left in their folder."""


def claim_output_folder(
    output: Path, stage: str, inputs: Iterable[Path] = (), flag: str = "--output_dir"
) -> None:
    """Check the folder as `check_output_folder` does, and mark it as that of the stage."""
    check_output_folder(output, stage, inputs, flag)
    mark_output_folder(output, stage)


def mark_output_folder(output: Path, stage: str) -> None:
    """Mark a checked folder as that of the stage; it is created if missing."""
    if not (output / MARK_FILE).is_file():
        write_json(output / MARK_FILE, {"stage": stage})


def check_output_folder(
    output: Path, stage: str, inputs: Iterable[Path] = (), flag: str = "--output_dir"
) -> None:
    """Raise DatasetError unless the stage may write its results into `output`.

    It may if the folder neither is, nor holds, nor lies in one of `inputs`, and is new, empty, or
    carries the stage's mark. flag: how the folder is set, for the message.
    """
    for source in inputs:
        relation = _relation(output, source)
        if relation:
            raise DatasetError(
                f"{output}: {relation} the input {source}, which would be overwritten or mixed "
                f"with results; give another folder by {flag}"
            )
    _check_is_writable(output, flag)
    if output.is_dir() and not _is_empty(output) and not is_output_of(stage, output):
        raise DatasetError(
            f"{output}: holds files that are not results of {stage}.py; "
            f"give a new or empty folder by {flag}"
        )


def is_output_of(stage: str, folder: Path) -> bool:
    """Whether the folder carries the mark or the record of results of that stage."""
    mark, record = folder / MARK_FILE, folder / RECORD_FILE
    if mark.is_file():
        return _read_or_empty(mark).get("stage") == stage
    if record.is_file() and stage in _read_or_empty(record):
        return True
    return any(any(folder.glob(pattern)) for pattern in _EARLIER_MARKS.get(stage, ()))


def check_output_file(output: Path, inputs: Iterable[Path], flag: str) -> None:
    """Raise DatasetError if the file is one of `inputs`, or cannot be written."""
    for source in inputs:
        if _is_same(output.resolve(), source.resolve()):
            raise DatasetError(
                f"{output}: is the input {source}, which would be overwritten; "
                f"give another file by {flag}"
            )
    if output.is_dir():
        raise DatasetError(f"{output}: is a folder; give a file by {flag}")
    _check_is_writable(output.parent, flag)


def _read_or_empty(path: Path) -> dict[str, object]:
    # A damaged record says nothing of whose folder it is.
    try:
        return read_json(path)
    except DatasetError:
        return {}


def _relation(output: Path, source: Path) -> str:
    """How the folder and an input meet; empty if they do not."""
    if _is_within(output, source):
        return "is" if _is_within(source, output) else "lies in"
    return "holds" if _is_within(source, output) else ""


def _is_within(path: Path, folder: Path) -> bool:
    """Whether `path` is the folder or lies in it, whatever links or spellings lead there."""
    resolved = path.resolve()
    return any(_is_same(place, folder.resolve()) for place in (resolved, *resolved.parents))


def _is_same(first: Path, second: Path) -> bool:
    # By the file system's own numbers: names may differ in case, or by a second mount.
    try:
        return first.samefile(second)
    except OSError:
        return first == second


def _check_is_writable(output: Path, flag: str) -> None:
    place = output.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise DatasetError(f"{output}: {place} is a file, not a folder; give another by {flag}")
    if not os.access(place, os.W_OK | os.X_OK):
        raise DatasetError(
            f"{output}: {place} cannot be written to; change its permissions, or give another "
            f"folder by {flag}"
        )


def _is_empty(folder: Path) -> bool:
    """Whether there is nothing in the folder but the lock of this run, or a mark half written."""
    mark = Path(MARK_FILE)
    for path in folder.iterdir():
        # Another run that shares the folder may be writing the mark, or was killed while it did.
        is_unfinished_mark = path.match(f".{mark.stem}.*.part{mark.suffix}")
        if path.name != ".lock" and not is_unfinished_mark:
            return False
    return True
