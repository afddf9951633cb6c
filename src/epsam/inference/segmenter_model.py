"""A segmenter without prompts as a tile model, gated by the run's weak model if it has one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from epsam.core.device import DeviceConfig
from epsam.data.images import Rgb
from epsam.inference.progress import PhaseTimer
from epsam.inference.tile_model import GatedTileModel, TileBatch
from epsam.inference.tiling import Map
from epsam.segment.registry import LoadedSegmenter


class SegmenterTileModel(GatedTileModel):
    """Scores tiles by the weak model, and segments those that pass the gate.

    Without a weak model, a tile's score is the largest probability in it.
    """

    phases: tuple[str, ...] = ("gate", "segmenter")

    def __init__(
        self,
        segmenter: LoadedSegmenter,
        weak_model: Any | None,
        device_config: DeviceConfig,
        batch_size: int,
    ) -> None:
        self._segmenter = segmenter
        self._weak_model = weak_model
        self._device_config = device_config
        self.batch_size = batch_size
        self.mpp = segmenter.mpp

    @property
    def weak_model(self) -> Any | None:
        """The model whose scores gate the tiles, if there is one."""
        return self._weak_model

    @property
    def tile_size(self) -> int:
        """Side of a tile, px."""
        return self._segmenter.patch_size

    @torch.no_grad()
    def classify(
        self, tiles: Sequence[Rgb], timer: PhaseTimer
    ) -> tuple[Sequence[float], Sequence[Map | None]]:
        """The tiles' scores and, without a weak model, their probabilities (side, side)."""
        if self._weak_model is None:
            with timer.phase("segmenter"):
                probabilities = self._predict(tiles)
            return [float(tile.max()) for tile in probabilities], list(probabilities)

        with timer.phase("gate"), self._device_config.autocast():
            logits = self._weak_model(self._to_images(tiles)).float()
            return logits.sigmoid().tolist(), [None] * len(tiles)

    def segment_passed(
        self, tiles: TileBatch, contexts: Sequence[Map | None], timer: PhaseTimer
    ) -> Map:
        """Tumour probabilities (tiles, side, side)."""
        probabilities = [context for context in contexts if context is not None]
        if len(probabilities) == len(contexts):
            return np.stack(probabilities)
        with timer.phase("segmenter"):
            return self._predict([tile.image for tile in tiles])

    @torch.no_grad()
    def _predict(self, tiles: Sequence[Rgb]) -> Map:
        with self._device_config.autocast():
            probabilities = self._segmenter.model.predict(self._to_images(tiles))
        # Class 0 of 1: tumour.
        return np.asarray(probabilities[:, 0].float().cpu().numpy(), np.float32)

    def _to_images(self, tiles: Sequence[Rgb]) -> Tensor:
        batch = torch.from_numpy(np.stack(tiles)).to(self._device_config.device)
        return batch.permute(0, 3, 1, 2).float() / 255
