"""A slide's tumour probability from top to bottom: memory holds one row of windows, however high
the slide is.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from epsam.data.images import Rgb
from epsam.inference.pipeline import Encoded, Gate
from epsam.inference.prefetch import prefetch
from epsam.inference.progress import PhaseTimer
from epsam.inference.tile_grid import TileGrid, tissue_columns
from epsam.inference.tiling import Map, blend_weights
from epsam.wsi.reader import Slide, read_tile
from epsam.wsi.writer import Pixels

Chunk = tuple[int, list[int]]
"""Windows that go through the classifier together: their row in the grid, and their columns."""


class TileModel(Protocol):
    """What a slide's windows go through; `Pipeline` is one."""

    batch_size: int
    mpp: float | None

    @property
    def tile_size(self) -> int: ...

    def classify(self, windows: Sequence[Rgb]) -> tuple[list[float], list[Map]]: ...

    def average_rotations(self, windows: Sequence[Rgb], maps: Sequence[Map]) -> list[Map]: ...

    def encode(self, windows: Sequence[Rgb]) -> Encoded: ...

    def decode(
        self,
        encoded: Encoded,
        windows: Sequence[Rgb],
        maps: Sequence[Map],
        name: str,
        numbers: Sequence[int],
    ) -> npt.NDArray[np.float32]: ...


@dataclass
class ClassifiedTiles:
    """The windows that the classifier was shown, in order: place in the grid, tumour probability,
    gated or not.
    """

    rows: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    gated: list[bool] = field(default_factory=list)


@dataclass(frozen=True)
class SlideInference:
    """One slide on its way through the network. `tick` is called with the number of windows that
    are done.
    """

    slide: Slide
    name: str
    grid: TileGrid
    network: TileModel
    gate: Gate
    min_tissue: float
    clock: PhaseTimer
    tick: Callable[[int], object] = lambda windows: None
    seen: ClassifiedTiles = field(default_factory=ClassifiedTiles)

    def rows(self) -> Iterator[Pixels]:
        """Probability as uint8 row bands (rows, width) from top to bottom: 128 and above is tumour
        (see `as_bytes`).

        Windows are blended as in an image: each counts most in its middle. One without tissue has
        no say and never reaches the classifier; one that is gated counts as 0 and never reaches
        SAM.
        """
        blend = Blend(self.grid.width, self.grid.side)
        ends = [*self.grid.tops[1:].tolist(), self.grid.height]
        with closing(prefetch(self._chunks(), self._read)) as chunks:
            for row, (top, end) in enumerate(zip(self.grid.tops.tolist(), ends, strict=True)):
                for left, probability in self._windows(row, chunks):
                    blend.add(left, probability)
                yield blend.release(end - top)

    def _chunks(self) -> Iterator[Chunk]:
        size = self.network.batch_size
        for row in range(len(self.grid.tops)):
            columns = tissue_columns(self.grid, row, self.min_tissue).tolist()
            for start in range(0, len(columns), size):
                yield row, columns[start : start + size]

    def _windows(
        self, row: int, chunks: Iterator[tuple[Chunk, list[Rgb]]]
    ) -> Iterator[tuple[int, Map | None]]:
        """Left edge and probability (None: gated) of a row's windows with tissue; takes its
        chunks.
        """
        ahead, size = len(tissue_columns(self.grid, row, self.min_tissue)), self.network.batch_size
        waiting: list[tuple[int, Rgb, Map]] = []
        while ahead:
            with self.clock.part("read"):
                (_, columns), images = next(chunks)
            ahead -= len(columns)
            with self.clock.part("gate"):
                scores, maps = self.network.classify(images)
            for column, image, score, cam_map in zip(columns, images, scores, maps, strict=True):
                is_open = self.gate.passes(score)
                self._note(row, column, score, not is_open)
                if is_open:
                    waiting.append((column, image, cam_map))
                else:
                    yield int(self.grid.lefts[column]), None
            while len(waiting) >= size or (waiting and not ahead):
                yield from self._segment(row, waiting[:size])
                del waiting[:size]
            self.tick(len(columns))

    def _read(self, chunk: Chunk) -> list[Rgb]:
        row, columns = chunk
        return [
            read_tile(
                self.slide, *self.grid.corner_px0(row, column), self.grid.side_px0, self.grid.side
            )
            for column in columns
        ]

    def _segment(
        self, row: int, windows: Sequence[tuple[int, Rgb, Map]]
    ) -> Iterator[tuple[int, Map]]:
        columns, images, maps = zip(*windows, strict=True)
        numbers = [row * len(self.grid.lefts) + column for column in columns]
        with self.clock.part("gate"):
            fused = self.network.average_rotations(images, maps)
        with self.clock.part("encoder"):
            encoded = self.network.encode(images)
        with self.clock.part("decoder"):
            found = self.network.decode(encoded, images, fused, self.name, numbers)
        yield from zip(self.grid.lefts[list(columns)].tolist(), found, strict=True)

    def _note(self, row: int, column: int, score: float, gated: bool) -> None:
        self.seen.rows.append(row)
        self.seen.columns.append(column)
        self.seen.scores.append(score)
        self.seen.gated.append(gated)


class Blend:
    """The rows of a probability map that windows may still add to: `side` of them, as wide as the
    slide.
    """

    def __init__(self, width: int, side: int) -> None:
        self._width = width
        self._weight = blend_weights(side)
        self._total = np.zeros((side, max(width, side)), np.float32)
        self._trust = np.zeros_like(self._total)
        self._touched = False

    def add(self, left: int, probability: Map | None) -> None:
        """Add a window (side, side) whose top is the first of the rows; None counts as 0
        everywhere.
        """
        side = len(self._weight)
        self._trust[:, left : left + side] += self._weight
        self._touched = True
        if probability is not None:
            self._total[:, left : left + side] += self._weight * probability

    def release(self, rows: int) -> Pixels:
        """The first `rows` rows as uint8, which are final; the next window's top is the row after
        them.
        """
        if not self._touched:
            return np.zeros((rows, self._width), np.uint8)
        done, trust = self._total[:rows, : self._width], self._trust[:rows, : self._width]
        np.divide(done, trust, out=done, where=trust > 0)
        released = as_bytes(done)
        self._touched = bool(self._trust[rows:].any())
        for array in (self._total, self._trust):
            # Row by row: numpy would copy the whole strip to move it within itself.
            for row in range(len(array) - rows):
                array[row] = array[row + rows]
            array[len(array) - rows :] = 0
        return released


def as_bytes(probability: Map) -> Pixels:
    """Probabilities in 0..255, rounded so that above 127 is exactly what is above 0.5; changes its
    argument.
    """
    np.multiply(probability, 255, out=probability)
    np.subtract(probability, 0.5, out=probability)
    return np.asarray(np.ceil(probability, out=probability).astype(np.uint8))
