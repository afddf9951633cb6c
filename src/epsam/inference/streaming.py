"""A slide's tumour probability from top to bottom, in the memory of one row of tiles."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from epsam.data.images import Rgb
from epsam.inference.pipeline import Encoded, Gate
from epsam.inference.progress import PhaseTimer
from epsam.inference.tiling import BandBlender, Map, TileGrid
from epsam.wsi.reader import Slide, read_tile
from epsam.wsi.writer import Pixels

Job = TypeVar("Job")
Result = TypeVar("Result")


class TileModel(Protocol):
    """What turns tiles into probabilities; `Pipeline` is one, and says what each method does."""

    batch_size: int
    mpp: float | None

    @property
    def tile_size(self) -> int: ...

    def classify(self, tiles: Sequence[Rgb]) -> tuple[list[float], list[Map]]: ...

    def average_rotations(self, tiles: Sequence[Rgb], cams: Sequence[Map]) -> list[Map]: ...

    def encode(self, tiles: Sequence[Rgb]) -> Encoded: ...

    def decode(
        self,
        encoded: Encoded,
        tiles: Sequence[Rgb],
        cams: Sequence[Map],
        name: str,
        numbers: Sequence[int],
    ) -> npt.NDArray[np.float32]: ...


class TileBatch(NamedTuple):
    """Tiles of one row of the grid that go through the classifier together."""

    row: int
    columns: list[int]


class ClassifiedTile(NamedTuple):
    """Position in the grid, tumour probability, and whether the gate has kept the tile from SAM."""

    row: int
    column: int
    score: float
    gated: bool


class PassedTile(NamedTuple):
    """A tile that has passed the gate and waits for SAM; `cam` is of the upright tile alone."""

    column: int
    image: Rgb
    cam: Map


@dataclass(frozen=True)
class SlideInference:
    """One slide on its way through the model.

    `on_progress` is called with each number of tiles that are done. `classified` collects every
    tile that the classifier gets, in order.
    """

    slide: Slide
    name: str
    grid: TileGrid
    model: TileModel
    gate: Gate
    min_tissue: float
    timer: PhaseTimer
    on_progress: Callable[[int], object] = lambda tiles: None
    classified: list[ClassifiedTile] = field(default_factory=list)

    def bands(self) -> Iterator[Pixels]:
        """Probability as uint8 row bands (rows, width) from top to bottom; 128 and above is tumour.

        A tile without tissue never reaches the classifier and has no weight in the blend. A gated
        tile never reaches SAM and counts as 0.
        """
        grid = self.grid
        blender = BandBlender(grid.width, grid.side)
        tops = [*grid.tops.tolist(), grid.height]
        # Reading a batch takes as long as the model's work on one: do both at once.
        with closing(prefetch(self._batches(), self._read)) as batches:
            for row in range(len(grid.tops)):
                for left, probability in self._segment_row(row, batches):
                    blender.add(left, probability)
                # No tile of a later row reaches above the next top.
                yield blender.release(tops[row + 1] - tops[row])

    def _batches(self) -> Iterator[TileBatch]:
        size = self.model.batch_size
        for row in range(len(self.grid.tops)):
            columns = self.grid.columns_with_tissue(row, self.min_tissue)
            for start in range(0, len(columns), size):
                yield TileBatch(row, columns[start : start + size])

    def _read(self, batch: TileBatch) -> list[Rgb]:
        images = []
        for column in batch.columns:
            left_px0, top_px0 = self.grid.corner_px0(batch.row, column)
            images.append(
                read_tile(self.slide, left_px0, top_px0, self.grid.side_px0, self.grid.side)
            )
        return images

    def _segment_row(
        self, row: int, batches: Iterator[tuple[TileBatch, list[Rgb]]]
    ) -> Iterator[tuple[int, Map | None]]:
        """Left edge and probability (None: gated) of the row's tiles with tissue."""
        size = self.model.batch_size
        unread = len(self.grid.columns_with_tissue(row, self.min_tissue))
        waiting: list[PassedTile] = []
        while unread:
            with self.timer.phase("read"):
                batch, images = next(batches)
            unread -= len(batch.columns)
            with self.timer.phase("gate"):
                scores, cams = self.model.classify(images)

            # Gated tiles need no more work and join the blend at once.
            for column, image, score, cam in zip(batch.columns, images, scores, cams, strict=True):
                passes = self.gate.passes(score)
                self.classified.append(ClassifiedTile(row, column, score, gated=not passes))
                if passes:
                    waiting.append(PassedTile(column, image, cam))
                else:
                    yield int(self.grid.lefts[column]), None

            # SAM gets full batches, and at the end of the row what is left.
            while len(waiting) >= size or (waiting and not unread):
                yield from self._segment_tiles(row, waiting[:size])
                del waiting[:size]
            self.on_progress(len(batch.columns))

    def _segment_tiles(self, row: int, tiles: Sequence[PassedTile]) -> Iterator[tuple[int, Map]]:
        columns = [tile.column for tile in tiles]
        images = [tile.image for tile in tiles]
        # The number keys the prompts of a tile, so that they do not depend on its batch.
        numbers = [row * len(self.grid.lefts) + column for column in columns]

        with self.timer.phase("gate"):
            cams = self.model.average_rotations(images, [tile.cam for tile in tiles])
        with self.timer.phase("encoder"):
            encoded = self.model.encode(images)
        with self.timer.phase("decoder"):
            probabilities = self.model.decode(encoded, images, cams, self.name, numbers)
        yield from zip(self.grid.lefts[columns].tolist(), probabilities, strict=True)


def prefetch(
    jobs: Iterable[Job], work: Callable[[Job], Result]
) -> Generator[tuple[Job, Result], None, None]:
    """Each job with its result, in order, while a thread works on the next one.

    Close it if not all are needed. Raises what `work` raises, when it is the job's turn.
    """
    submitted: deque[tuple[Job, Future[Result]]] = deque()
    with ThreadPoolExecutor(max_workers=1) as thread:
        for job in jobs:
            submitted.append((job, thread.submit(work, job)))
            # One ahead is enough, and more would take memory.
            if len(submitted) == 2:
                oldest, future = submitted.popleft()
                yield oldest, future.result()
        for remaining, future in submitted:
            yield remaining, future.result()
