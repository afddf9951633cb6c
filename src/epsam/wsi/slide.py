"""What a whole slide is to the rest of the program: levels, pixel size, and regions as RGB."""

import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from epsam.data.images import Rgb

WHITE = 255


@dataclass(frozen=True)
class Level:
    """One level of the pyramid: its size in its own pixels, and its downsample, the number of
    level-0 pixels that one of them spans.
    """

    width: int
    height: int
    downsample: float


class Slide(ABC):
    """An open slide; use it in a `with` block. Level 0 is the finest. Threads may read it at a
    time.
    """

    def __init__(self, path: Path, levels: tuple[Level, ...], mpp: float | None) -> None:
        self.path = path
        self.name = path.stem
        self.levels = levels
        self.mpp = mpp
        """Pixel size of level 0, µm; None if neither the file nor the user states it."""
        self.decoding_s = 0.0
        """Seconds spent on decoding so far; 0 where the reader cannot separate it from reading."""
        self.reading_s = 0.0
        """Seconds spent on reading so far, decoding included; those of all threads."""
        self._timing_lock = threading.Lock()

    @property
    def width0(self) -> int:
        return self.levels[0].width

    @property
    def height0(self) -> int:
        return self.levels[0].height

    def read(self, left_px: int, top_px: int, width: int, height: int, level: int = 0) -> Rgb:
        """A region as RGB (height, width, 3), all four numbers in pixels of that level; white
        outside of the slide.

        Raises SlideError if the file's pixels cannot be decoded.
        """
        started = time.perf_counter()
        region = np.full((height, width, 3), WHITE, dtype=np.uint8)

        left = max(0, left_px)
        top = max(0, top_px)
        right = min(left_px + width, self.levels[level].width)
        bottom = min(top_px + height, self.levels[level].height)
        if left < right and top < bottom:
            inside = self._read_inside(left, top, right - left, bottom - top, level)
            region[top - top_px : bottom - top_px, left - left_px : right - left_px] = inside

        with self._timing_lock:
            self.reading_s += time.perf_counter() - started
        return region

    def count_decoding(self, seconds: float) -> None:
        """Add to the seconds spent on decoding."""
        with self._timing_lock:
            self.decoding_s += seconds

    @abstractmethod
    def _read_inside(self, left_px: int, top_px: int, width: int, height: int, level: int) -> Rgb:
        """A region that lies wholly inside the level."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> "Slide":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
