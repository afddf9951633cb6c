"""The results of images that are done, so that an interrupted run goes on with the next image."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from epsam.core.artifact import Key
from epsam.core.files import append_text, digest_of, quick_hash
from epsam.data.patches import Patch, label_from_name
from epsam.metrics import PixelCounts

CACHE_FILE = ".finished.jsonl"


@dataclass(frozen=True)
class ImageResult:
    """One image: its row of metrics.csv, and its pixel counts if its ground truth has tumour."""

    row: dict[str, Any]
    counts: PixelCounts | None


def mask_file(output: Path, image: Patch) -> Path:
    """Where an image's mask is written."""
    return output / "mask" / f"{image.name}.png"


def overlay_file(output: Path, image: Patch) -> Path:
    """Where an image's overlay is written."""
    return output / "overlay" / f"{image.name}.png"


class ResultCache:
    """A hidden file in the folder of results: a line for each image, added after its files.

    A line is current for the same `key` (weights and options), the same image and ground truth, and
    result files of the same size.
    """

    def __init__(self, output: Path, key: Key) -> None:
        self._output = output
        self._key = key
        self._lines = {line["image"]: line for line in _read_lines(output / CACHE_FILE)}

    def find(self, image: Patch) -> ImageResult | None:
        """The current result of an image, if there is one."""
        line = self._lines.get(image.file_name)
        if line is None:
            return None
        try:
            key = self._image_key(image)
        except OSError:
            # An image that cannot be read any more fails when it is segmented, with its reason.
            return None
        if key.why_stale({"fingerprint": line["key"]}):
            return None
        return ImageResult(line["row"], _counts_from_json(line["overlap"]))

    def add(self, image: Patch, result: ImageResult) -> None:
        """Store the result of an image whose mask and overlay are written."""
        line = {
            "image": image.file_name,
            "key": self._image_key(image).digest,
            "row": result.row,
            "overlap": _counts_to_json(result.counts),
        }
        # A kill may have cut the line before; it must not take this one with it.
        append_text(self._output / CACHE_FILE, "\n" + json.dumps(line))

    def _image_key(self, image: Patch) -> Key:
        """The key of one image's result; a line has its digest alone, to stay short."""
        lines = [str(image.mask is None), quick_hash(image.image)]
        if image.mask is not None:
            lines.append(quick_hash(image.mask))
        # Until 0.2.0 a name was a label in every folder; such a result is not current without one.
        if image.label is None and label_from_name(image.name) is not None:
            lines.append("name is no label")
        for path in (mask_file(self._output, image), overlay_file(self._output, image)):
            lines.append(str(path.stat().st_size) if path.is_file() else "none")

        inputs = {**self._key.inputs, "files": digest_of(lines)}
        older = tuple(digest_of([fingerprint, *lines]) for fingerprint in self._key.older)
        return replace(self._key, inputs=inputs, older=older)


def _counts_to_json(counts: PixelCounts | None) -> dict[str, int] | None:
    # The stored keys are older than the names of the fields; a cache of either age is readable.
    if counts is None:
        return None
    return {"both": counts.tp, "predicted": counts.predicted, "true": counts.target}


def _counts_from_json(stored: dict[str, int] | None) -> PixelCounts | None:
    if not stored:
        return None
    return PixelCounts(stored["both"], stored["predicted"], stored["true"])


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The complete lines of a cache file; without a file, none."""
    if not path.is_file():
        return
    for text in path.read_text("utf-8", errors="replace").split("\n"):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and line.keys() >= {"image", "key", "row", "overlap"}:
            yield line
