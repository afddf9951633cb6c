"""Is a result done already, and still valid? One answer for all that is computed once and stored.

A `Key` has all that decides a result: options and digests of inputs, by name. An `Artifact` is a
result on disk; its completion record has the key with which it was computed.
"""

import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from epsam.core.errors import DatasetError
from epsam.core.files import digest_of, file_size, read_json, sha256_of, whole_file, write_json

log = logging.getLogger(__name__)

Record = dict[str, Any]
"""The content of a completion record."""

NOT_DONE = "it is not done yet"
"""Why a result without a readable completion record is stale."""


@dataclass(frozen=True)
class Key:
    """All that decides a result.

    options: by the name that is written to disk. inputs: digests of what is read, by name.
    defaults: of options, for records of versions that did not have one of them yet. flags: name of
    an option as the user types it, where that differs. older: digests that earlier versions wrote
    for the same options and inputs. later_inputs: inputs that records may lack. old_format: the
    digest as earlier versions compute it, where files that other results are compared by hold it.
    """

    options: Mapping[str, Any]
    inputs: Mapping[str, str]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    older: tuple[str, ...] = ()
    later_inputs: tuple[str, ...] = ()
    old_format: str = ""

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the values of all options and inputs."""
        if self.old_format:
            return self.old_format
        # As every version so far has computed it: with another format, no finished stage would be
        # current any more.
        return digest_of([json.dumps(dict(self.options), sort_keys=True), *self.inputs.values()])

    def record(self) -> Record:
        """The key's part of a completion record."""
        return {
            "fingerprint": self.digest,
            "options": dict(self.options),
            "inputs": dict(self.inputs),
        }

    def why_stale(self, record: Mapping[str, Any]) -> str:
        """What has changed since `record` was written, as in "lr 0.1 → 0.2, val has changed".

        Empty if nothing has. An option that the record does not name counts as its default, and one
        that no longer exists is ignored, so that results of other versions stay valid.
        """
        if record.get("fingerprint") in (self.digest, *self.older):
            return ""
        stored_options, stored_inputs = record.get("options"), record.get("inputs")
        if not isinstance(stored_options, Mapping) or not isinstance(stored_inputs, Mapping):
            return "options or inputs have changed"
        return ", ".join(
            [*self._changed_options(stored_options), *self._changed_inputs(stored_inputs)]
        )

    def _changed_options(self, stored: Mapping[str, Any]) -> Iterator[str]:
        for name, value in _as_json(self.options).items():
            before = stored.get(name, _as_json(self.defaults).get(name))
            if before != value:
                yield f"{self.flags.get(name, name)} {before} → {value}"

    def _changed_inputs(self, stored: Mapping[str, str]) -> Iterator[str]:
        for name in (*self.inputs, *(name for name in stored if name not in self.inputs)):
            if stored.get(name) == self.inputs.get(name):
                continue
            if name not in stored:
                if name in self.later_inputs:
                    continue
                yield f"{name} is read now"
            elif name not in self.inputs:
                yield f"{name} is no longer read"
            else:
                yield f"{name} changed"


@dataclass(frozen=True)
class FileCheck:
    """How a record notices that a file was changed: entry of the record, and what it compares.

    ignored: names of files that may change.
    """

    entry: str
    measure: Callable[[Path], Any]
    ignored: tuple[str, ...] = ()


CHECKSUMS = FileCheck("outputs", sha256_of)
SIZES = FileCheck("files", file_size)
"""For files whose content takes too long to read."""


@dataclass(frozen=True)
class Replacement:
    """A staging file or folder, and what the completion record of its folder will hold."""

    path: Path
    content: Record = field(default_factory=dict)


class Artifact:
    """A result on disk, identified by a `Key`.

    It is a folder or some files in one, with the completion record in a file of its own, or a
    single file that holds its record.
    """

    def __init__(
        self,
        path: Path,
        key: Key,
        record: Path | None = None,
        read: Callable[[Path], Record] = read_json,
        check: FileCheck = CHECKSUMS,
    ) -> None:
        """path: the folder or file. record: file of the completion record; None: `path` itself.

        read: reads the record; raises DatasetError if it cannot.
        """
        self.path = path
        self.key = key
        self._record = record or path
        self._read = read
        self._check = check

    def is_current(self) -> bool:
        """Whether the result is there, complete, unchanged, and computed with this key."""
        return not self.why_stale()

    def why_stale(self) -> str:
        """Why the result has to be computed again, by names of options, inputs and files; "" if it
        is current. Changes nothing on disk.
        """
        record = self.read()
        if record is None:
            return NOT_DONE
        return self.key.why_stale(record) or self._first_changed_file(record)

    def read(self) -> Record | None:
        """The completion record, current or not; None if there is none or it is damaged."""
        if not self._record.is_file():
            return None
        try:
            return self._read(self._record)
        except DatasetError:
            return None

    def read_current(self) -> Record | None:
        """The completion record if the result is current, else None."""
        return self.read() if self.is_current() else None

    def invalidate(self) -> None:
        """Remove the completion record: the result is about to change, perhaps not to the end."""
        self._record.unlink(missing_ok=True)

    def complete(
        self, files: Iterable[Path] = (), content: Mapping[str, Any] | None = None
    ) -> None:
        """Write the completion record: the key, `content`, and what the files of the result were.

        Call it last of all: whatever stops the work before leaves the result incomplete.
        """
        write_json(self._record, self._compose_record(self.path, files, content or {}))

    @contextmanager
    def replace(self, staging: Path | None = None) -> Iterator[Replacement]:
        """Stage a new result, and put it in the place of the old one if the block succeeds.

        Yields an empty folder if the record is a file inside of `path`, else a file to write, which
        has to hold its record (`Key.record`). The folder gets its record last, with the content
        that the block has set, and appears by one rename.

        staging: the folder that is staged in; None: one beside `path` that all processes share.
        """
        if self._record == self.path:
            with whole_file(self.path) as temporary:
                yield Replacement(temporary)
            return

        staging = staging or self.path.with_name(f".{self.path.name}.part")
        # What a process that was killed has left.
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        replacement = Replacement(staging)
        try:
            yield replacement
            files = sorted(path for path in staging.rglob("*") if path.is_file())
            record = self._compose_record(staging, files, replacement.content)
            write_json(staging / self._record.relative_to(self.path), record)
            shutil.rmtree(self.path, ignore_errors=True)
            staging.replace(self.path)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _compose_record(
        self, root: Path, files: Iterable[Path], content: Mapping[str, Any]
    ) -> Record:
        measures = {}
        for path in files:
            if path.name not in self._check.ignored:
                measures[path.relative_to(root).as_posix()] = self._check.measure(path)
        return {**self.key.record(), **content, self._check.entry: measures}

    def _first_changed_file(self, record: Record) -> str:
        measures = record.get(self._check.entry, {})
        if not isinstance(measures, Mapping):
            return "its completion record is damaged"
        for name, measure in measures.items():
            path = self.path / name
            if not path.is_file() or self._check.measure(path) != measure:
                return f"{name} is missing or is not as it was written"
        return ""


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as they are read back from JSON: tuples as lists."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(values)))
    return plain
