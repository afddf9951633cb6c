"""Outlines drawn in ASAP: read from XML, and turned into masks."""

import math
import xml.parsers.expat
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from epsam.core.errors import AnnotationError
from epsam.data.images import Mask

Polygon = npt.NDArray[np.float64]
"""Corners (N, 2) as (x, y) in level-0 pixels; pixel (column 0, row 0) covers 0..1 in both
directions.
"""

GROUPS = {
    "metastases": "tumour",
    "_0": "tumour",
    "_1": "tumour",
    "Tumor": "tumour",
    "tumor": "tumour",
    "normal": "hole",
    "_2": "hole",
    "Exclusion": "hole",
    "None": "hole",
}
"""Annotation group → what it means: both CAMELYON vocabularies (methods D47; NCRF lists the
CAMELYON16 one).
"""

FARTHEST_PX = (
    1e7  # ours: no scanner makes slides of ten million pixels; beyond it the number is a mistake
)
MOST_ITEMS = 1_000_000  # ours: annotations and groups; a slide of CAMELYON has some hundreds
MOST_CROSSINGS = 1 << 22  # ours: worked out at a time, some 200 MB
SHOWN = 50  # ours: characters of a name or a number that a message repeats


@dataclass(frozen=True)
class Annotations:
    """What is drawn on a slide: tumour is the union of `tumour` without `holes`; `n_dropped` shapes
    had no area.
    """

    tumour: list[Polygon] = field(default_factory=list)
    holes: list[Polygon] = field(default_factory=list)
    n_dropped: int = 0


def read_annotations(path: Path) -> Annotations:
    """Outlines of an ASAP XML file.

    Groups may lie in groups: the first known name from the outline's own group upwards counts.
    Shapes of fewer than three points have no area and are dropped. Raises AnnotationError on
    ill-formed XML, a document type (its entities could be made to grow without bound), an unknown
    group, more items than anyone draws, or coordinates that are no numbers.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AnnotationError(
            f"{path}: cannot be read ({error.strerror}); check the path and permissions"
        ) from error
    return _Reader(path).outlines(content)


class _Reader:
    """Collects shapes and the nesting of groups while expat walks through the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Each group with x, y, x, y, …: a tenth of what pairs in a list would take.
        self.shapes: list[tuple[str, array[float]]] = []
        self.parents: dict[str, str] = {}
        self.root = ""

    def outlines(self, content: bytes) -> Annotations:
        parser = xml.parsers.expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        try:
            parser.Parse(content, True)
        except (xml.parsers.expat.ExpatError, UnicodeDecodeError, LookupError, ValueError) as error:
            raise AnnotationError(
                f"{self.path}: not well-formed XML ({error}); export it from ASAP again"
            ) from error
        if self.root != "ASAP_Annotations":
            raise AnnotationError(
                f"{self.path}: root {self.root}, expected ASAP_Annotations; export it from ASAP"
            )
        return self._sorted()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.root = self.root or name
        if len(self.shapes) + len(self.parents) > MOST_ITEMS:
            raise AnnotationError(
                f"{self.path}: more than {MOST_ITEMS} annotations and groups; export it from ASAP "
                "again"
            )
        if name == "Annotation":
            self.shapes.append((attributes.get("PartOfGroup", "None"), array("d")))
        elif name == "Group":
            self.parents[attributes.get("Name", "")] = attributes.get("PartOfGroup", "None")
        elif name == "Coordinate" and self.shapes:
            self.shapes[-1][1].extend(
                (self._number(attributes, "X"), self._number(attributes, "Y"))
            )

    def _number(self, attributes: dict[str, str], axis: str) -> float:
        text = attributes.get(axis, "")
        try:
            # ASAP writes the decimal sign of the computer's language.
            value = float(text.replace(",", "."))
        except ValueError:
            value = math.nan
        if not abs(value) <= FARTHEST_PX:
            raise AnnotationError(
                f"{self.path}: annotation {len(self.shapes)} has {axis}={text[:SHOWN]!r}, which is "
                "no pixel coordinate; correct the file"
            )
        return value

    def _refuse_doctype(self, *_: object) -> NoReturn:
        raise AnnotationError(
            f"{self.path}: has a DOCTYPE, which ASAP never writes; export it from ASAP again"
        )

    def _sorted(self) -> Annotations:
        meanings = {group: self._meaning(group) for group, _ in self.shapes}
        unknown = sorted(group for group, meaning in meanings.items() if not meaning)
        if unknown:
            names = ", ".join(group[:SHOWN] for group in unknown[:5]) + (
                " …" if len(unknown) > 5 else ""
            )
            raise AnnotationError(
                f"{self.path}: unknown annotation group {names}; rename it in ASAP to one of "
                f"{', '.join(GROUPS)}"
            )
        kept = [
            (meanings[group], np.array(points).reshape(-1, 2))
            for group, points in self.shapes
            if len(points) >= 3 * 2
        ]
        return Annotations(
            [shape for meaning, shape in kept if meaning == "tumour"],
            [shape for meaning, shape in kept if meaning == "hole"],
            len(self.shapes) - len(kept),
        )

    def _meaning(self, group: str) -> str:
        """What a group means by its own name or by that of the nearest group around it; empty if
        none is known.
        """
        seen: set[str] = set()
        first = group
        while group not in GROUPS and group not in seen:
            seen.add(group)
            group = self.parents.get(group, "")
        # "None" also ends every chain of parents; only a shape that is in no group at all means it
        # as its own.
        return "" if group == "None" and first != "None" else GROUPS.get(group, "")


def rasterize_tumour(
    outlines: Annotations,
    left_px0: float,
    top_px0: float,
    width: int,
    height: int,
    downsample: float = 1.0,
) -> Mask:
    """Tumour as bool (height, width) in a window whose corner is in level-0 pixels; size in pixels
    of the result.

    A pixel counts if its centre is inside. All tumour outlines are filled first and holes are
    cleared last, whatever their order in the file (methods D48).
    """
    mask = np.zeros((height, width), dtype=np.bool_)
    origin = np.array([left_px0, top_px0])
    for shapes, inside in ((outlines.tumour, True), (outlines.holes, False)):
        for shape in shapes:
            _fill(mask, (shape - origin) / downsample, inside)
    return mask


def _fill(mask: Mask, points: Polygon, value: bool) -> None:
    """Set the pixels whose centres lie inside a polygon (even-odd rule), points as (x, y) in the
    mask's pixels.

    Not cv2.fillPoly, which also fills every pixel that the outline merely touches: neighbouring
    shapes would overlap.
    """
    low = np.ceil(points.min(axis=0) - 0.5).astype(np.int64)
    high = np.ceil(points.max(axis=0) - 0.5).astype(np.int64)
    left, top = max(0, int(low[0])), max(0, int(low[1]))
    right, bottom = min(mask.shape[1], int(high[0])), min(mask.shape[0], int(high[1]))
    if left >= right or top >= bottom:
        return
    toggles = np.zeros((bottom - top, right - left + 1), dtype=np.uint8)
    edges = np.concatenate([points, np.roll(points, -1, axis=0)], axis=1)
    before = np.maximum(edges[:, 0], edges[:, 2]) <= left
    near = edges[~before & (np.minimum(edges[:, 0], edges[:, 2]) < right)]
    toggles[:, 0] = _covered(edges[before], top, bottom)
    step = max(1, MOST_CROSSINGS // (bottom - top))
    for start in range(0, len(near), step):
        rows, columns = _crossings(near[start : start + step], top, bottom)
        np.add.at(toggles, (rows - top, np.clip(columns, left, right) - left), 1)
    # Whether a pixel is inside is the parity of the crossings to its left; wrapping at 256 keeps
    # parity.
    inside = np.add.accumulate(toggles, axis=1, dtype=np.uint8)[:, :-1] & 1 == 1
    mask[top:bottom, left:right][inside] = value


def _covered(edges: npt.NDArray[np.float64], top: int, bottom: int) -> npt.NDArray[np.uint8]:
    """For each of the rows top..bottom, whether an odd number (1) of edges (N, 4) crosses its
    centre line.
    """
    turns = np.zeros(bottom - top + 1, dtype=np.int64)
    for ends in _rows_of(edges, top, bottom):
        turns += np.bincount(ends - top, minlength=len(turns))
    return (np.cumsum(turns)[:-1] & 1).astype(np.uint8)


def _rows_of(
    edges: npt.NDArray[np.float64], top: int, bottom: int
) -> tuple[npt.NDArray[np.int64], ...]:
    """First row whose centre line each edge (N, 4), from x1, y1 to x2, y2, crosses, and the row
    after the last.
    """
    low, high = np.minimum(edges[:, 1], edges[:, 3]), np.maximum(edges[:, 1], edges[:, 3])
    return tuple(np.clip(np.ceil(end - 0.5), top, bottom).astype(np.int64) for end in (low, high))


def _crossings(
    edges: npt.NDArray[np.float64], top: int, bottom: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where edges (N, 4) cross the centre lines of rows top..bottom: (rows, first column right of
    each crossing).
    """
    x1, y1, x2, y2 = edges.T
    first, last = _rows_of(edges, top, bottom)
    count = last - first
    edge = np.repeat(np.arange(len(edges)), count)
    rows = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    x = x1[edge] + (rows + 0.5 - y1[edge]) * (x2 - x1)[edge] / (y2 - y1)[edge]
    return rows, np.ceil(x - 0.5).astype(np.int64)
