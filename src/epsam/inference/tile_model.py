"""The slot of inference: a model that turns tiles into tumour probabilities.

The slide scanner and folders of images see a `TileModel` and nothing of the method behind it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from epsam.data.images import Mask, Rgb
from epsam.inference.progress import PhaseTimer
from epsam.inference.tiling import Map, Tiling


@dataclass(frozen=True)
class Gate:
    """Tiles whose tumour probability is below `threshold` stay empty, if the gate is on.

    See docs/deviations.md, "Classifier gate".
    """

    on: bool
    threshold: float

    def passes(self, score: float) -> bool:
        """Whether a tile of this tumour probability is segmented."""
        return not self.on or score >= self.threshold


class Tile(NamedTuple):
    """A square of an image: (side, side, 3) RGB.

    name, number: of its image, and of the tile in it; they say whose result it is, and do not
    change it. gate: decides whether this tile is segmented.
    """

    name: str
    number: int
    image: Rgb
    gate: Gate


TileBatch = Sequence[Tile]
"""Tiles that are classified together; they may be of several images."""


class TileResult(NamedTuple):
    """What a model says of one tile.

    name, number: of its image, and of the tile in it.
    probability: of tumour, (side, side) float32 in 0..1; None if the gate has kept the tile from
    being segmented. score: the tumour probability of the tile as a whole.
    """

    name: str
    number: int
    probability: Map | None
    score: float

    @property
    def gated(self) -> bool:
        return self.probability is None


class TileModel(Protocol):
    """What turns tiles into probabilities.

    batch_size: tiles that are best read together. mpp: resolution of the patches that it was
    trained on, µm/px; None: not known. phases: names of the parts of its work, as it times them.
    """

    batch_size: int
    mpp: float | None
    phases: tuple[str, ...]

    @property
    def tile_size(self) -> int:
        """Side of a tile, px."""
        ...

    def segment_tiles(
        self, batches: Iterable[TileBatch], timer: PhaseTimer
    ) -> Iterator[TileResult]:
        """A result for each tile of the batches, in any order.

        A stream and not a call for each batch: a model may let tiles wait until the network gets a
        full batch of those that pass the gate.
        """
        ...


class _WaitingTile(NamedTuple):
    """A tile that has passed the gate, and what the classification left for it."""

    tile: Tile
    score: float
    context: Any


class GatedTileModel(ABC):
    """A tile model of two parts: a score for every tile, and a mask for those that pass the gate.

    A method implements `classify` and `segment_passed`; the order of the work is done here.
    """

    batch_size: int

    @abstractmethod
    def classify(
        self, tiles: Sequence[Rgb], timer: PhaseTimer
    ) -> tuple[Sequence[float], Sequence[Any]]:
        """Tumour probability of each of up to `batch_size` tiles, and what `segment_passed` needs
        to know of it.
        """

    @abstractmethod
    def segment_passed(self, tiles: TileBatch, contexts: Sequence[Any], timer: PhaseTimer) -> Map:
        """Tumour probabilities (tiles, side, side) of up to `batch_size` tiles that have passed."""

    def segment_tiles(
        self, batches: Iterable[TileBatch], timer: PhaseTimer
    ) -> Iterator[TileResult]:
        """See `TileModel`."""
        size = self.batch_size
        waiting: list[_WaitingTile] = []
        for batch in batches:
            scores, contexts = self.classify([tile.image for tile in batch], timer)
            for tile, score, context in zip(batch, scores, contexts, strict=True):
                if tile.gate.passes(score):
                    waiting.append(_WaitingTile(tile, score, context))
                else:
                    yield TileResult(tile.name, tile.number, None, score)

            # Full batches only; what is left waits for the next tiles.
            while len(waiting) >= size:
                yield from self._segment_waiting(waiting[:size], timer)
                del waiting[:size]
        if waiting:
            yield from self._segment_waiting(waiting, timer)

    def _segment_waiting(
        self, waiting: Sequence[_WaitingTile], timer: PhaseTimer
    ) -> Iterator[TileResult]:
        tiles = [passed.tile for passed in waiting]
        contexts = [passed.context for passed in waiting]
        probabilities = self.segment_passed(tiles, contexts, timer)
        for passed, probability in zip(waiting, probabilities, strict=True):
            yield TileResult(passed.tile.name, passed.tile.number, probability, passed.score)


@dataclass(frozen=True)
class Segmentation:
    """One image: tumour probability (height, width), and what the model said of its tiles.

    max_score: the largest tumour probability of a tile. n_gated: tiles that the gate has kept from
    being segmented. threshold: the probability above which a pixel is tumour.
    """

    probability: Map
    max_score: float
    n_tiles: int
    n_gated: int
    threshold: float = 0.5

    @property
    def mask(self) -> Mask:
        return self.probability > self.threshold


class TiledImage:
    """An RGB image whose tiles go through a model; the results make its segmentation.

    `name` tells its tiles from those of other images.
    """

    def __init__(self, name: str, image: Rgb, side: int, overlap: float, gate: Gate) -> None:
        """side: of a tile, px. overlap: of neighbouring tiles, 0 to 0.9."""
        height, width = image.shape[:2]
        self.name = name
        self._image = image
        self._tiling = Tiling.over(height, width, side, overlap)
        self._gate = gate
        n_tiles = len(self._tiling.corners_xy)
        # Tiles that the gate keeps from being segmented stay 0.
        self._probabilities = np.zeros((n_tiles, side, side), dtype=np.float32)
        self._scores: list[float] = []
        self._n_gated = 0

    def tiles(self) -> list[Tile]:
        """The tiles, row by row."""
        images = self._tiling.crop_tiles(self._image)
        return [Tile(self.name, n, image, self._gate) for n, image in enumerate(images)]

    def add(self, result: TileResult) -> None:
        """Take the result of one of the tiles, in any order."""
        self._scores.append(result.score)
        if result.probability is None:
            self._n_gated += 1
        else:
            self._probabilities[result.number] = result.probability

    @property
    def is_complete(self) -> bool:
        """Whether all tiles have their result."""
        return len(self._scores) == len(self._probabilities)

    def segmentation(self) -> Segmentation:
        """The tiles' results, blended."""
        probability = self._tiling.blend(self._probabilities)
        n_tiles = len(self._probabilities)
        return Segmentation(probability, max(self._scores), n_tiles, self._n_gated)


def segment_images(model: TileModel, images: Iterable[TiledImage]) -> Iterator[TiledImage]:
    """The images, of different names, as they become complete; each is read when it is needed.

    Tiles of several images share a batch, which the network takes in less time than one by one.
    """
    unfinished: dict[str, TiledImage] = {}

    def open_tiles() -> Iterator[Tile]:
        for image in images:
            unfinished[image.name] = image
            yield from image.tiles()

    batches = _batch_tiles(open_tiles(), model.batch_size)
    for result in model.segment_tiles(batches, PhaseTimer(model.phases)):
        image = unfinished[result.name]
        image.add(result)
        if image.is_complete:
            yield unfinished.pop(result.name)


def segment_image(
    model: TileModel, name: str, image: Rgb, overlap: float, gate: Gate
) -> Segmentation:
    """Tumour probability of every pixel of an RGB image, whatever its name."""
    tiled = TiledImage(name, image, model.tile_size, overlap, gate)
    (complete,) = segment_images(model, [tiled])
    return complete.segmentation()


def _batch_tiles(tiles: Iterable[Tile], batch_size: int) -> Iterator[TileBatch]:
    batch: list[Tile] = []
    for tile in tiles:
        batch.append(tile)
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch
