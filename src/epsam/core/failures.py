"""Which stages of a run have failed, and why: failures.json in its folder, for the report.

A stage removes its own entry when it begins again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from epsam.core.errors import DatasetError, FinishedWorkError
from epsam.core.files import read_json, write_json

FAILURE_FILE = "failures.json"


def read_failures(folder: Path) -> dict[str, str]:
    """Stage → why it has failed; empty without failures, or if the file is damaged."""
    path = folder / FAILURE_FILE
    if not path.is_file():
        return {}
    try:
        content = read_json(path)
    except DatasetError:
        return {}
    return {str(stage): str(reason) for stage, reason in content.items()}


@contextmanager
def record_failure(
    folder: Path, stage: str, describe: Callable[[BaseException], str]
) -> Iterator[None]:
    """While the block runs, an error of it is noted in `folder`, and raised again.

    Neither an interruption is a failure, nor that finished work stays as it is.
    """
    _write_without(folder, stage)
    try:
        yield
    except FinishedWorkError:
        raise
    except Exception as error:
        # On a full disk the error itself is what the user has to see.
        with suppress(OSError):
            write_json(folder / FAILURE_FILE, {**read_failures(folder), stage: describe(error)})
        raise


def _write_without(folder: Path, stage: str) -> None:
    failures = read_failures(folder)
    if stage not in failures:
        return
    del failures[stage]
    if failures:
        write_json(folder / FAILURE_FILE, failures)
    else:
        (folder / FAILURE_FILE).unlink()
