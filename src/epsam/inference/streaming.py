"""A slide's tumour probability from top to bottom, in the memory of one row of tiles."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from epsam.data.images import Rgb
from epsam.inference.progress import PhaseTimer
from epsam.inference.tile_model import Gate, Tile, TileBatch, TileModel, TileResult
from epsam.inference.tiling import BandBlender, TileGrid
from epsam.wsi.reader import Slide, read_tile
from epsam.wsi.writer import Pixels

Job = TypeVar("Job")
Result = TypeVar("Result")


class _ColumnBatch(NamedTuple):
    """Tiles of one row of the grid that are read together."""

    row: int
    columns: list[int]


class ClassifiedTile(NamedTuple):
    """Position in the grid, tumour probability, and whether the gate has kept the tile from being
    segmented.
    """

    row: int
    column: int
    score: float
    gated: bool


@dataclass(frozen=True)
class SlideInference:
    """One slide on its way through the model.

    `on_progress` is called with each number of tiles that are done. `classified` collects every
    tile that the model gets, row by row. `read_threads` read tiles ahead of the model.
    """

    slide: Slide
    name: str
    grid: TileGrid
    model: TileModel
    gate: Gate
    min_tissue: float
    timer: PhaseTimer
    on_progress: Callable[[int], object] = lambda tiles: None
    read_threads: int = 1
    classified: list[ClassifiedTile] = field(default_factory=list)

    def bands(self) -> Iterator[Pixels]:
        """Probability as uint8 row bands (rows, width) from top to bottom; 128 and above is tumour.

        A tile without tissue never reaches the model and has no weight in the blend. A gated tile
        counts as 0.
        """
        grid = self.grid
        blender = BandBlender(grid.width, grid.side)
        tops = [*grid.tops.tolist(), grid.height]
        # Reading a batch takes as long as the model's work on one: do both at once.
        with closing(prefetch(self._batches(), self._read, self.read_threads)) as batches:
            for row in range(len(grid.tops)):
                for result in self._segment_row(row, batches):
                    column = result.number - row * len(grid.lefts)
                    blender.add(int(grid.lefts[column]), result.probability)
                # No tile of a later row reaches above the next top.
                yield blender.release(tops[row + 1] - tops[row])

    def _batches(self) -> Iterator[_ColumnBatch]:
        size = self.model.batch_size
        for row in range(len(self.grid.tops)):
            columns = self.grid.columns_with_tissue(row, self.min_tissue)
            for start in range(0, len(columns), size):
                yield _ColumnBatch(row, columns[start : start + size])

    def _read(self, batch: _ColumnBatch) -> list[Rgb]:
        images = []
        for column in batch.columns:
            left_px0, top_px0 = self.grid.corner_px0(batch.row, column)
            images.append(
                read_tile(self.slide, left_px0, top_px0, self.grid.side_px0, self.grid.side)
            )
        return images

    def _segment_row(
        self, row: int, batches: Iterator[tuple[_ColumnBatch, list[Rgb]]]
    ) -> Iterator[TileResult]:
        """The results of the row's tiles with tissue."""
        first_number = row * len(self.grid.lefts)
        tiles = self._row_tiles(row, batches)
        row_tiles = []
        for result in self.model.segment_tiles(tiles, self.timer):
            column = result.number - first_number
            row_tiles.append(ClassifiedTile(row, column, result.score, result.gated))
            yield result
        # Results come in the order of the model's work.
        self.classified.extend(sorted(row_tiles))

    def _row_tiles(
        self, row: int, batches: Iterator[tuple[_ColumnBatch, list[Rgb]]]
    ) -> Iterator[TileBatch]:
        """The row's tiles with tissue as they are read; a tile's number is that in the grid.

        The number keys the prompts of a tile, so that they do not depend on its batch.
        """
        first_number = row * len(self.grid.lefts)
        unread = len(self.grid.columns_with_tissue(row, self.min_tissue))
        while unread:
            with self.timer.phase("read"):
                batch, images = next(batches)
            unread -= len(batch.columns)
            tiles = []
            for column, image in zip(batch.columns, images, strict=True):
                tiles.append(Tile(self.name, first_number + column, image, self.gate))
            yield tiles
            # The model asks for more once it has these behind it.
            self.on_progress(len(batch.columns))


def prefetch(
    jobs: Iterable[Job], work: Callable[[Job], Result], n_threads: int = 1
) -> Generator[tuple[Job, Result], None, None]:
    """Each job with its result, in order, while each thread works on one of the next ones.

    Close it if not all are needed. Raises what `work` raises, when it is the job's turn.
    """
    submitted: deque[tuple[Job, Future[Result]]] = deque()
    with ThreadPoolExecutor(max_workers=n_threads) as threads:
        for job in jobs:
            submitted.append((job, threads.submit(work, job)))
            # One ahead for each thread is enough, and more would take memory.
            if len(submitted) > n_threads:
                oldest, future = submitted.popleft()
                yield oldest, future.result()
        for remaining, future in submitted:
            yield remaining, future.result()
