"""What is kept of every image that is done, so that a run that was broken off goes on with the next
one.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epsam.core.files import append_text, digest_of, quick_hash
from epsam.data.patches import Patch
from epsam.metrics import PixelCounts

KEPT = ".finished.jsonl"


@dataclass(frozen=True)
class ImageResult:
    """Of one image: its row of metrics.csv, and its overlap with the truth if it truly has
    tumour.
    """

    row: dict[str, Any]
    overlap: PixelCounts | None


def mask_file(output: Path, item: Patch) -> Path:
    """Where an image's mask is written."""
    return output / "mask" / f"{item.name}.png"


def overlay_file(output: Path, item: Patch) -> Path:
    """Where an image's overlay is written."""
    return output / "overlay" / f"{item.name}.png"


class ResultCache:
    """A hidden file in the folder of results: a line for each image, added after its mask and
    overlay.

    A line counts for the same run (its `fingerprint`), the same image and truth, and files that are
    as they were left.
    """

    def __init__(self, output: Path, fingerprint: str) -> None:
        self._output = output
        self._fingerprint = fingerprint
        self._lines = {line["image"]: line for line in _lines_of(output / KEPT)}

    def find(self, item: Patch) -> ImageResult | None:
        """The result of an image that is done; None if there is none that counts."""
        line = self._lines.get(item.image.name)
        try:
            if line is None or line["key"] != self._key(item):
                return None
        except OSError:
            # An image that cannot be read any more fails where it is worked on, with its reason.
            return None
        return ImageResult(line["row"], _counts_from_json(line["overlap"]))

    def add(self, item: Patch, result: ImageResult) -> None:
        """Keep the result of an image whose mask and overlay are written."""
        line = {
            "image": item.image.name,
            "key": self._key(item),
            "row": result.row,
            "overlap": _counts_to_json(result.overlap),
        }
        # The line before may have been cut by a kill; it must not take this one with it.
        append_text(self._output / KEPT, "\n" + json.dumps(line))

    def _key(self, item: Patch) -> str:
        inputs = [quick_hash(path) for path in (item.image, item.mask) if path]
        results = [
            _size(path)
            for path in (mask_file(self._output, item), overlay_file(self._output, item))
        ]
        return digest_of([self._fingerprint, str(item.mask is None), *inputs, *results])


def _counts_to_json(counts: PixelCounts | None) -> dict[str, int] | None:
    """The stored keys are older than the names of the fields; a cache of either age is readable."""
    if counts is None:
        return None
    return {"both": counts.tp, "predicted": counts.predicted, "true": counts.target}


def _counts_from_json(stored: dict[str, int] | None) -> PixelCounts | None:
    if not stored:
        return None
    return PixelCounts(stored["both"], stored["predicted"], stored["true"])


def _size(path: Path) -> str:
    return str(path.stat().st_size) if path.is_file() else "none"


def _lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """The lines that are whole; the others are as if they were not there."""
    for text in path.read_text("utf-8", errors="replace").split("\n") if path.is_file() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and line.keys() >= {"image", "key", "row", "overlap"}:
            yield line
