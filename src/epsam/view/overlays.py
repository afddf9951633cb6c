"""What is drawn over a slide in lines: contours of its results, its annotations, its tiles."""

import logging
import threading
from collections import OrderedDict
from typing import Any

from epsam.annotations.polygons import Polygon
from epsam.core.errors import AnnotationError
from epsam.core.files import read_numbers
from epsam.extraction.candidates import load_annotations
from epsam.tables import TILE_COLUMNS
from epsam.view.catalogue import ViewedImage
from epsam.view.outlines import OutlineIndex, Rings, collect_rings, read_rings

log = logging.getLogger(__name__)

TUMOUR, ANNOTATIONS = "tumour", "annotations"
MAX_INDICES = 4
"""Of so many slides the polygons are in memory (this project): 100,000 of them take 100 MB."""


class OutlineReader:
    """The polygons of the images of a catalogue, those of the last ones kept in memory."""

    def __init__(self, images: list[ViewedImage]) -> None:
        self._images = images
        self._lock = threading.Lock()
        self._indices: OrderedDict[tuple[int, str], OutlineIndex] = OrderedDict()

    def kinds(self, number: int) -> list[str]:
        """Which kinds of polygons an image has."""
        image = self._images[number]
        kinds = []
        if image.contours:
            kinds.append(TUMOUR)
        if image.record and image.record.annotations:
            kinds.append(ANNOTATIONS)
        return kinds

    def view(
        self, number: int, kind: str, box: tuple[float, float, float, float], detail: int
    ) -> Rings | None:
        """What of an image's polygons is seen, as `OutlineIndex.view`; None if it has none.

        Raises AnnotationError if their file is damaged.
        """
        if not 0 <= number < len(self._images) or kind not in self.kinds(number):
            return None
        # One at a time: two views of a slide would read its file twice.
        with self._lock:
            key = (number, kind)
            if key not in self._indices:
                self._indices[key] = OutlineIndex(self._read(self._images[number], kind))
                while len(self._indices) > MAX_INDICES:
                    self._indices.popitem(last=False)
            self._indices.move_to_end(key)
            return self._indices[key].view(box, detail)

    def _read(self, image: ViewedImage, kind: str) -> Rings:
        if kind == TUMOUR and image.contours:
            return read_rings(image.contours)
        polygons: list[Polygon] = []
        if image.record:
            try:
                annotations = load_annotations(image.record)
                polygons = [*annotations.tumour, *annotations.holes]
            except AnnotationError as error:
                # Such as those of a normal slide, whose file is empty.
                log.warning("%s: no ground truth: %s", image.name, error)
        return collect_rings(polygons)


def read_tile_table(image: ViewedImage) -> dict[str, Any] | None:
    """The tiles of a slide's inference as columns: corners in level-0 pixels, probability, and
    whether the gate held them back; None without a table.

    Raises DatasetError if the table is damaged.
    """
    if image.tiles is None:
        return None
    rows = read_numbers(
        image.tiles,
        TILE_COLUMNS,
        {"x": int, "y": int, "probability": float, "gated": int},
        "remove that folder and run infer.py again",
    )
    table: dict[str, Any] = {"side": image.frame.side_px0}
    for name, convert in (("x", int), ("y", int), ("probability", float), ("gated", int)):
        table[name] = [convert(row[name]) for row in rows]
    return table
