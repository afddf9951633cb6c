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


class TileBatch(NamedTuple):
    """Tiles (side, side, 3) RGB that were read together, and their numbers in the image."""

    numbers: list[int]
    images: list[Rgb]


class TileResult(NamedTuple):
    """What a model says of one tile.

    probability: of tumour, (side, side) float32 in 0..1; None if the gate has kept the tile from
    being segmented. score: the tumour probability of the tile as a whole.
    """

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
        self, batches: Iterable[TileBatch], name: str, gate: Gate, timer: PhaseTimer
    ) -> Iterator[TileResult]:
        """A result for each tile of the batches, in any order.

        A stream and not a call for each batch: a model may let tiles wait until the network gets a
        full batch of those that pass the gate. `name` of the image and a tile's number key what is
        random.
        """
        ...


class _WaitingTile(NamedTuple):
    """A tile that has passed the gate, and what the classification left for it."""

    number: int
    image: Rgb
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
    def segment_passed(
        self, tiles: TileBatch, contexts: Sequence[Any], name: str, timer: PhaseTimer
    ) -> Map:
        """Tumour probabilities (tiles, side, side) of up to `batch_size` tiles that have passed."""

    def segment_tiles(
        self, batches: Iterable[TileBatch], name: str, gate: Gate, timer: PhaseTimer
    ) -> Iterator[TileResult]:
        """See `TileModel`."""
        size = self.batch_size
        waiting: list[_WaitingTile] = []
        for batch in batches:
            scores, contexts = self.classify(batch.images, timer)
            for number, image, score, context in zip(*batch, scores, contexts, strict=True):
                if gate.passes(score):
                    waiting.append(_WaitingTile(number, image, score, context))
                else:
                    yield TileResult(number, None, score)

            # Full batches only; what is left waits for the next tiles.
            while len(waiting) >= size:
                yield from self._segment_waiting(waiting[:size], name, timer)
                del waiting[:size]
        if waiting:
            yield from self._segment_waiting(waiting, name, timer)

    def _segment_waiting(
        self, tiles: Sequence[_WaitingTile], name: str, timer: PhaseTimer
    ) -> Iterator[TileResult]:
        batch = TileBatch([tile.number for tile in tiles], [tile.image for tile in tiles])
        contexts = [tile.context for tile in tiles]
        probabilities = self.segment_passed(batch, contexts, name, timer)
        for tile, probability in zip(tiles, probabilities, strict=True):
            yield TileResult(tile.number, probability, tile.score)


@dataclass(frozen=True)
class Segmentation:
    """One image: tumour probability (height, width), and what the model said of its tiles.

    max_score: the largest tumour probability of a tile. n_gated: tiles that the gate has kept from
    being segmented.
    """

    probability: Map
    max_score: float
    n_tiles: int
    n_gated: int

    @property
    def mask(self) -> Mask:
        return self.probability > 0.5


def segment_image(
    model: TileModel, name: str, image: Rgb, overlap: float, gate: Gate
) -> Segmentation:
    """Tumour probability of every pixel of an RGB image; `name` keys its prompt samples."""
    height, width = image.shape[:2]
    tiling = Tiling.over(height, width, model.tile_size, overlap)
    tiles = tiling.crop_tiles(image)

    # Tiles that the gate keeps from being segmented stay 0.
    probabilities = np.zeros((len(tiles), tiling.side, tiling.side), dtype=np.float32)
    scores = []
    n_gated = 0
    batches = _batch_tiles(tiles, model.batch_size)
    for result in model.segment_tiles(batches, name, gate, PhaseTimer(model.phases)):
        scores.append(result.score)
        if result.probability is None:
            n_gated += 1
        else:
            probabilities[result.number] = result.probability
    return Segmentation(tiling.blend(probabilities), max(scores), len(tiles), n_gated)


def _batch_tiles(tiles: Sequence[Rgb], batch_size: int) -> Iterator[TileBatch]:
    for start in range(0, len(tiles), batch_size):
        images = list(tiles[start : start + batch_size])
        yield TileBatch(list(range(start, start + len(images))), images)
