"""Scores by the fraction of a window that is tumour: training and its scores know windows of 20 to
90 % alone (paper 4.1), and a slide has all of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from epsam.data.images import Mask
from epsam.metrics import PixelCounts, macro_dice_iou, sum_counts

_NO_TUMOUR = "0"
_ABOVE = (("90-100", 0.9), ("20-90", 0.2), ("2-20", 0.02), ("0-2", 0.0))
"""Names of the ranges, in per cent, and where each begins. 20 % and 90 % are in the middle one, as
in training (paper 4.1); 2 % belongs to the lowest.
"""


@dataclass(frozen=True)
class WindowCounts:
    """Pixel counts of some windows of equal label: one, or many without tumour; area in pixels."""

    overlap: PixelCounts
    area: int
    n_windows: int = 1


def name_range(fraction: float) -> str:
    """The range of a tumour fraction, in per cent."""
    if fraction == 0:
        return _NO_TUMOUR
    for name, begin in _ABOVE:
        # The middle range holds its lower end, and the highest one does not.
        if fraction > begin or (name == "20-90" and fraction == begin):
            return name
    raise ValueError(f"{fraction} is no fraction")


def summarize_by_fraction(windows: Iterable[WindowCounts]) -> list[dict[str, Any]]:
    """A row for each range that has windows, from none to the whole window.

    dice: mean over the windows; recall: of all their tumour; marked: the fraction of their area
    that is marked, which without tumour is the false-positive area.
    """
    by_range: dict[str, list[WindowCounts]] = {_NO_TUMOUR: []}
    for name, _ in reversed(_ABOVE):
        by_range[name] = []
    for window in windows:
        by_range[name_range(window.overlap.target / window.area)].append(window)
    return [_summarize(name, members) for name, members in by_range.items() if members]


def _summarize(name: str, windows: Sequence[WindowCounts]) -> dict[str, Any]:
    overlaps = [window.overlap for window in windows]
    total = sum_counts(overlaps)
    marked = total.predicted / sum(window.area for window in windows)
    row: dict[str, Any] = {
        "tumour_percent": name,
        "windows": sum(window.n_windows for window in windows),
        "dice": "",
        "recall": "",
        "marked": round(marked, 6),
    }
    # Without tumour, Dice says whether anything at all is marked, and recall says nothing.
    if name != _NO_TUMOUR:
        row["dice"] = round(macro_dice_iou(overlaps)[0], 6)
        row["recall"] = round(total.recall, 6)
    return row


class WindowGrid:
    """Pixel counts of every window of a regular grid, from bands of two masks from top to
    bottom.
    """

    def __init__(self, side: int) -> None:
        """side: of a window, in pixels of the masks."""
        self.side = side
        self._top = 0
        self._width = 0
        self._counts: dict[int, npt.NDArray[np.int64]] = {}

    def add_band(self, predicted: Mask, target: Mask) -> None:
        """Add the next band (rows, width) of both masks."""
        height, self._width = target.shape
        begins = np.arange(0, self._width, self.side)
        for row in range(self._top // self.side, (self._top + height - 1) // self.side + 1):
            first = max(0, row * self.side - self._top)
            last = min(height, (row + 1) * self.side - self._top)
            part_p, part_t = predicted[first:last], target[first:last]
            columns = np.stack([part_p & part_t, part_p, part_t]).sum(axis=1, dtype=np.int64)
            sums = np.add.reduceat(columns, begins, axis=1)
            if row in self._counts:
                sums += self._counts[row]
            self._counts[row] = sums
        self._top += height

    def whole_windows(self, places: Iterable[tuple[int, int]]) -> list[WindowCounts]:
        """The counts of the windows (column, row) that lie wholly in the masks."""
        windows = []
        for column, row in sorted(set(places)):
            is_whole = (column + 1) * self.side <= self._width and (
                row + 1
            ) * self.side <= self._top
            if is_whole:
                tp, predicted, target = (int(n) for n in self._counts[row][:, column])
                windows.append(WindowCounts(PixelCounts(tp, predicted, target), self.side**2))
        return windows
