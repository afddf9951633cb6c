"""The addresses of a page at which corrections are read and written."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from epsam.annotations.polygons import Polygon
from epsam.core.errors import AnnotationError
from epsam.corrections.document import ACTIONS, CorrectionDocument
from epsam.corrections.store import CorrectionStore
from epsam.view.pages import script_of
from epsam.view.server import JSON, SCRIPT, Answer

_SCRIPT = re.compile(r"corrections/(\d{1,9})\.js")
_WRITTEN = re.compile(r"corrections/(\d{1,9})")

FindRegion = Callable[[int, float, float], Polygon | None]
"""(number of an image, x, y) → the region of the model there; None without one."""


class CorrectionPages:
    """Answers what a page asks of corrections, and takes what it sends.

    names: of each image, by its number, the name of its file of corrections; empty if it cannot be
    corrected here.
    """

    def __init__(
        self, store: CorrectionStore, names: Sequence[str], find_region: FindRegion
    ) -> None:
        self.store = store
        self.names = names
        self._find_region = find_region

    def answer(self, path: str) -> Answer | None:
        """The corrections of an image as a script; None for another path."""
        number = self._find_number(_SCRIPT, path)
        if number is None:
            return None
        content = describe_document(self.store.load(self.names[number]))
        return Answer(script_of("epsam.setCorrections", number, content), SCRIPT)

    def write(self, path: str, content: Mapping[str, Any]) -> Answer | None:
        """Add an edit, or undo the last one; the answer has the corrections after it.

        content: the revision that the page has, and an action, with corners in pixels of the image,
        or with a point in the region to accept or reject. Raises AnnotationError if it is none,
        OutdatedPageError if the page has not seen the last change.
        """
        number = self._find_number(_WRITTEN, path)
        if number is None:
            return None
        name = self.names[number]
        revision, action = content.get("revision"), content.get("action")
        if not isinstance(revision, int) or not isinstance(action, str):
            raise AnnotationError(f"{name}: no correction; a revision and an action are needed")
        if action == "undo":
            document = self.store.undo(name, revision)
        else:
            corners = self._find_corners(number, action, content)
            document = self.store.add(name, revision, action, corners)
        return Answer(json.dumps(describe_document(document)).encode("utf-8"), JSON)

    def _find_number(self, pattern: re.Pattern[str], path: str) -> int | None:
        """The number of the image that an address is of; None if of none that can be corrected."""
        match = pattern.fullmatch(path)
        if match is None or int(match[1]) >= len(self.names):
            return None
        number = int(match[1])
        return number if self.names[number] else None

    def _find_corners(self, number: int, action: str, content: Mapping[str, Any]) -> list[Any]:
        """The corners that a page sends, or those of the region at its point."""
        corners, point = content.get("corners"), content.get("point")
        if isinstance(corners, list):
            return corners
        try:
            x, y = (float(value) for value in point or ())
        except (TypeError, ValueError) as error:
            raise AnnotationError(f"{action}: neither corners nor a point") from error
        region = self._find_region(number, x, y)
        if region is None:
            raise AnnotationError("there is no region of the model at this place")
        return list(region.tolist())


def describe_document(document: CorrectionDocument) -> dict[str, Any]:
    """The corrections of an image for its page."""
    edits = []
    for edit in document.edits:
        corners = edit.polygon.round(2).tolist()
        edits.append({"meaning": ACTIONS[edit.action], "corners": corners})
    return {"revision": document.revision, "edits": edits}
