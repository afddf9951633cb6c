"""The folder of corrections: a file for each image, changed by one page at a time."""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from epsam.core.errors import AnnotationError, EpsamError
from epsam.core.locking import exclusive_lock
from epsam.corrections.document import (
    ACTIONS,
    CorrectionDocument,
    has_member,
    read_document,
    read_polygon,
    write_document,
)
from epsam.corrections.reading import read_corrections


class OutdatedPageError(EpsamError):
    """Another page has changed the corrections since this one has loaded them."""


class CorrectionStore:
    """Reads and changes files `<name>.geojson` below a folder, which the first change makes.

    Names come from a list of images, never from a request.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # The threads of one server; its processes are kept apart by the lock of the folder.
        self._lock = threading.Lock()

    def load(self, name: str) -> CorrectionDocument:
        """The corrections of an image, without any if there is no file.

        Those of QuPath and ASAP become edits. Raises AnnotationError as `read_corrections` does.
        """
        path = self._path(name)
        drawn_in_asap = path.with_suffix(".xml")
        if path.is_file() and has_member(path):
            return read_document(path)
        document = CorrectionDocument(Path(name).name)
        for other in (path, drawn_in_asap):
            if other.is_file():
                return _import_shapes(document, other)
        return document

    def add(
        self, name: str, revision: int, action: str, corners: Sequence[Sequence[Any]]
    ) -> CorrectionDocument:
        """Add an edit to the document that had `revision` when the page loaded it.

        Raises OutdatedPageError if it has another one, AnnotationError if the edit is none.
        """
        try:
            polygon = read_polygon(corners)
        except (TypeError, ValueError) as error:
            raise AnnotationError(f"{name}: no polygon: {error}") from error
        return self._change(name, revision, lambda document: document.add(action, polygon, _now()))

    def undo(self, name: str, revision: int) -> CorrectionDocument:
        """Take the last edit back. Raises as `add` does."""
        return self._change(name, revision, lambda document: document.undo(_now()))

    def _change(
        self,
        name: str,
        revision: int,
        change: Callable[[CorrectionDocument], CorrectionDocument],
    ) -> CorrectionDocument:
        with self._lock, exclusive_lock(self.folder, "close the other page"):
            document = self.load(name)
            if document.revision != revision:
                raise OutdatedPageError(
                    f"{name}: another page has changed these corrections (revision "
                    f"{document.revision}, here {revision}); they are loaded again, repeat yours"
                )
            changed = change(document)
            write_document(self._path(name), changed)
            # Its shapes are edits now: two files for one image would be refused.
            drawn_in_asap = self._path(name).with_suffix(".xml")
            if drawn_in_asap.is_file():
                drawn_in_asap.rename(drawn_in_asap.with_name(f"{drawn_in_asap.name}.imported"))
            return changed

    def _path(self, name: str) -> Path:
        path = self.folder / f"{name}.geojson"
        # Also a folder or a file that is a link out of the folder.
        if not path.resolve().is_relative_to(self.folder.resolve()) or path.is_symlink():
            raise AnnotationError(f"{path}: leads out of {self.folder}; remove the link")
        return path


def _import_shapes(document: CorrectionDocument, path: Path) -> CorrectionDocument:
    """The document with the shapes of another program's file as its first edits."""
    action_of = {ACTIONS[name]: name for name in ("tumour", "normal", "reviewed")}
    for shape in read_corrections(path):
        document = document.add(action_of[shape.meaning], shape.polygon, _now())
    return document


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
