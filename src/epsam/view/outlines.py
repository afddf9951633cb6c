"""Many polygons at any zoom: what a part of the screen shows of them, with no more points than it
can show.
"""

import gzip
import warnings
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from epsam.annotations.polygons import Polygon
from epsam.core.errors import AnnotationError

MAX_DETAIL = 24
"""Coarsest detail: 2^24 level-0 pixels for a pixel of the screen hold any slide."""
GRID_PER_PX = 2
"""Points lie on a grid of half pixels of the screen, as contours on one of half pixels (this
project).
"""

_WITHOUT_BRACKETS = str.maketrans("", "", "[]")

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rings:
    """Closed lines one after another: points (N, 2) as (x, y) in level-0 pixels, and the index of
    each ring's first point (R,).
    """

    points_xy: npt.NDArray[np.float32]
    starts: Indices

    @property
    def lengths(self) -> Indices:
        return np.diff(np.append(self.starts, len(self.points_xy)))

    def boxes(self) -> npt.NDArray[np.float32]:
        """Left, top, right and bottom of each ring (R, 4)."""
        if not len(self.starts):
            return np.zeros((0, 4), np.float32)
        low = np.minimum.reduceat(self.points_xy, self.starts, axis=0)
        high = np.maximum.reduceat(self.points_xy, self.starts, axis=0)
        return np.concatenate([low, high], axis=1)

    def select(self, is_chosen: npt.NDArray[np.bool_]) -> "Rings":
        """The chosen ones (R,) of the rings."""
        lengths = self.lengths[is_chosen]
        points = self.points_xy[np.repeat(is_chosen, self.lengths)]
        return Rings(points, np.cumsum(lengths) - lengths)


def collect_rings(polygons: Iterable[Polygon | Sequence[Sequence[float]]]) -> Rings:
    """The polygons (n, 2) as rings; what has fewer than three points is left out."""
    arrays = []
    for polygon in polygons:
        points = np.asarray(polygon, np.float32)
        if len(points) >= 3:
            arrays.append(points)
    if not arrays:
        return Rings(np.zeros((0, 2), np.float32), np.zeros(0, np.int64))
    lengths = np.array([len(points) for points in arrays], np.int64)
    return Rings(np.concatenate(arrays), np.cumsum(lengths) - lengths)


def read_rings(path: Path) -> Rings:
    """All rings, holes too, of the polygons of a GeoJSON file of `infer.py`.

    Raises AnnotationError if it is damaged.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return _parse_rings(content.decode("utf-8"))
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise AnnotationError(
            f"{path}: no polygons of infer.py ({error}); remove the slide's folder and run it again"
        ) from error


def _parse_rings(text: str) -> Rings:
    """The rings in the text of a GeoJSON file. Raises ValueError if numbers are missing.

    Not by json, which takes 10 s for the 8 million numbers of 100,000 regions: it makes an object
    of each.
    """
    rings: list[str] = []
    for block in text.split('"coordinates":')[1:]:
        coordinates, end, _ = block.partition("]]]")
        if not end:
            raise ValueError("a polygon has no end")
        rings.extend(coordinates.split("]],"))
    # The numbers of a ring stand between commas.
    counts = np.array([ring.count(",") + 1 for ring in rings], np.int64)
    numbers = ",".join(rings).translate(_WITHOUT_BRACKETS)
    values = _parse_numbers(numbers) if rings else np.zeros(0, np.float32)
    if len(values) != counts.sum() or (counts % 2).any() or not np.isfinite(values).all():
        raise ValueError(f"{len(values)} of {counts.sum()} numbers are pairs of coordinates")
    lengths = counts // 2
    return Rings(values.reshape(-1, 2), np.cumsum(lengths) - lengths)


def _parse_numbers(text: str) -> npt.NDArray[np.float32]:
    """Numbers between commas. Raises ValueError for anything else."""
    with warnings.catch_warnings():
        # Of what is no number, older versions of numpy only warn.
        warnings.simplefilter("error", DeprecationWarning)
        try:
            return np.fromstring(text, np.float32, sep=",")
        except DeprecationWarning as warning:
            raise ValueError(str(warning)) from warning


class OutlineIndex:
    """Rings, and for each detail that was shown their points on the grid of the screen."""

    def __init__(self, rings: Rings) -> None:
        self._details: dict[int, tuple[Rings, npt.NDArray[np.float32]]] = {}
        self._rings = rings

    def view(self, box: tuple[float, float, float, float], detail: int) -> Rings:
        """The rings that meet a box (left, top, right, bottom in level-0 pixels), where a pixel of
        the screen spans 2^detail of them.

        What is smaller than a pixel of the screen stays a dot.
        """
        rings, boxes = self._at_detail(min(max(detail, 0), MAX_DETAIL))
        left, top, right, bottom = box
        meets = (boxes[:, 2] >= left) & (boxes[:, 0] <= right)
        meets &= (boxes[:, 3] >= top) & (boxes[:, 1] <= bottom)
        return rings.select(meets)

    def _at_detail(self, detail: int) -> tuple[Rings, npt.NDArray[np.float32]]:
        if detail not in self._details:
            rings = simplify(self._rings, 2.0**detail / GRID_PER_PX)
            self._details[detail] = (rings, rings.boxes())
        return self._details[detail]


def simplify(rings: Rings, grid: float) -> Rings:
    """The rings with their points moved to a grid (its step in level-0 pixels), without points that
    repeat the one before; of rings that become one point at the same place, one.
    """
    if not len(rings.starts):
        return rings
    cells = np.rint(rings.points_xy / grid).astype(np.int32)
    stays = np.ones(len(cells), bool)
    stays[1:] = (cells[1:] != cells[:-1]).any(axis=1)
    # The first point of a ring stays, whatever stands before it.
    stays[rings.starts] = True

    ring_of_point = np.repeat(np.arange(len(rings.starts)), rings.lengths)
    lengths = np.bincount(ring_of_point[stays], minlength=len(rings.starts))
    starts = np.cumsum(lengths) - lengths
    points = cells[stays]
    simplified = Rings((points * grid).astype(np.float32), starts)

    is_dot = lengths == 1
    _, first = np.unique(points[starts[is_dot]], axis=0, return_index=True)
    is_shown = ~is_dot
    is_shown[np.flatnonzero(is_dot)[first]] = True
    return simplified.select(is_shown)


def pack(rings: Rings) -> bytes:
    """The rings in little-endian words of four bytes: their number, the length of each as integers,
    and x and y of all points as floating-point numbers.
    """
    header = np.concatenate([[len(rings.starts)], rings.lengths]).astype("<i4")
    return header.tobytes() + rings.points_xy.astype("<f4").tobytes()
