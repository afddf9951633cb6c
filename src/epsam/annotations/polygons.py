"""Annotations of a slide as polygons, and the mask of the tumour that they outline."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from epsam.data.images import Mask

Polygon = npt.NDArray[np.float64]
"""Corners (N, 2) as (x, y) in level-0 pixels; pixel (column 0, row 0) covers 0..1 in both
directions.
"""

Edges = npt.NDArray[np.float64]
"""Edges of a polygon (N, 4) from (x1, y1) to (x2, y2), in pixels of a mask."""

MAX_CROSSINGS = 1 << 22
"""Crossings of edges with pixel rows that are worked out at a time, some 200 MB (this project)."""


@dataclass(frozen=True)
class Annotations:
    """What is drawn on a slide: tumour is the union of the polygons in `tumour` without those in
    `holes`; `n_dropped` shapes had no area. `ungrouped`: those of the holes that are in no group,
    so that nobody says what they are.
    """

    tumour: list[Polygon] = field(default_factory=list)
    holes: list[Polygon] = field(default_factory=list)
    n_dropped: int = 0
    ungrouped: list[Polygon] = field(default_factory=list)


def rasterize_tumour(
    annotations: Annotations,
    left_px0: float,
    top_px0: float,
    width: int,
    height: int,
    downsample: float = 1.0,
) -> Mask:
    """Tumour as bool (height, width) in a region: its corner in level-0 pixels, its size in pixels
    of the result.

    A pixel counts if its centre is inside.
    """
    mask = np.zeros((height, width), dtype=np.bool_)
    origin = np.array([left_px0, top_px0])
    # Holes are cleared last, whatever their order in the file: docs/deviations.md, "Holes".
    for polygon in annotations.tumour:
        fill_polygon(mask, (polygon - origin) / downsample, True)
    for polygon in annotations.holes:
        fill_polygon(mask, (polygon - origin) / downsample, False)
    return mask


def fill_polygon(mask: Mask, points: Polygon, value: bool) -> None:
    """Set the pixels whose centres lie inside a polygon (even-odd rule), points as (x, y) in the
    mask's pixels.

    Not cv2.fillPoly, which also fills every pixel that an edge merely touches: neighbouring shapes
    would overlap.
    """
    # Rows and columns whose centres lie in the polygon's bounding box and in the mask.
    low = np.ceil(points.min(axis=0) - 0.5).astype(np.int64)
    high = np.ceil(points.max(axis=0) - 0.5).astype(np.int64)
    left, top = max(0, int(low[0])), max(0, int(low[1]))
    right, bottom = min(mask.shape[1], int(high[0])), min(mask.shape[0], int(high[1]))
    if left >= right or top >= bottom:
        return

    # A pixel is inside if an odd number of edges crosses its row to the left of its centre. Edges
    # wholly to the left of the box only shift the parity of whole rows; those to the right of it
    # play no part. Both are the rule for a patch inside of a large polygon.
    edges = np.concatenate([points, np.roll(points, -1, axis=0)], axis=1)
    is_left = np.maximum(edges[:, 0], edges[:, 2]) <= left
    near = edges[~is_left & (np.minimum(edges[:, 0], edges[:, 2]) < right)]

    crossings = np.zeros((bottom - top, right - left + 1), dtype=np.uint8)
    crossings[:, 0] = _row_parity(edges[is_left], top, bottom)
    step = max(1, MAX_CROSSINGS // (bottom - top))
    for start in range(0, len(near), step):
        rows, columns = _find_crossings(near[start : start + step], top, bottom)
        np.add.at(crossings, (rows - top, np.clip(columns, left, right) - left), 1)

    # The running sum may wrap at 256, which keeps its parity.
    inside = np.add.accumulate(crossings, axis=1, dtype=np.uint8)[:, :-1] & 1 == 1
    mask[top:bottom, left:right][inside] = value


def _row_parity(edges: Edges, top: int, bottom: int) -> npt.NDArray[np.uint8]:
    """For each of the rows top..bottom, 1 if an odd number of edges crosses its centre line, else
    0.
    """
    # An edge toggles the parity at its first row, and again after its last one.
    toggles = np.zeros(bottom - top + 1, dtype=np.int64)
    for rows in _row_spans(edges, top, bottom):
        toggles += np.bincount(rows - top, minlength=len(toggles))
    return (np.cumsum(toggles)[:-1] & 1).astype(np.uint8)


def _row_spans(
    edges: Edges, top: int, bottom: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First row whose centre line each edge crosses, and the row after the last, within the rows
    top..bottom.
    """
    low = np.minimum(edges[:, 1], edges[:, 3])
    high = np.maximum(edges[:, 1], edges[:, 3])
    # The centre line of row r is at y = r + 0.5.
    first = np.clip(np.ceil(low - 0.5), top, bottom).astype(np.int64)
    after_last = np.clip(np.ceil(high - 0.5), top, bottom).astype(np.int64)
    return first, after_last


def _find_crossings(
    edges: Edges, top: int, bottom: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where edges cross the centre lines of rows top..bottom: (rows, first column right of each
    crossing).
    """
    x1, y1, x2, y2 = edges.T
    first, after_last = _row_spans(edges, top, bottom)
    count = after_last - first

    # One entry for each pair of an edge and a row that it crosses.
    edge = np.repeat(np.arange(len(edges)), count)
    entry_in_edge = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    rows = entry_in_edge + first[edge]

    run, rise = (x2 - x1)[edge], (y2 - y1)[edge]
    x = x1[edge] + (rows + 0.5 - y1[edge]) * run / rise
    return rows, np.ceil(x - 0.5).astype(np.int64)
