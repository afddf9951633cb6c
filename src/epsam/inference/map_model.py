"""A weak model without a segmenter as a tile model: its initial masks are the answer.

classifier → gate → refined map → initial mask
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from epsam.cam.postprocess import cam_to_probability
from epsam.config.masks import MaskRule
from epsam.core.device import DeviceConfig
from epsam.data.images import Rgb
from epsam.inference.progress import PhaseTimer
from epsam.inference.tile_maps import ClassifiedMap, TileMaps
from epsam.inference.tile_model import GatedTileModel, TileBatch
from epsam.inference.tiling import Map


class MapTileModel(GatedTileModel):
    """Scores tiles by the weak model, and turns the maps of those that pass into masks."""

    phases: tuple[str, ...] = ("gate", "masks")

    def __init__(
        self,
        weak_model: Any,
        rule: MaskRule,
        patch_size: int,
        device_config: DeviceConfig,
        batch_size: int,
        mpp: float | None = None,
    ) -> None:
        """weak_model: a `WeakModel`. rule: how its maps become masks. mpp: resolution of the
        patches of `patch_size` px that it was trained on, µm/px; None: not known.
        """
        self._tile_maps = TileMaps(weak_model, rule, device_config)
        self._patch_size = patch_size
        self.batch_size = batch_size
        self.mpp = mpp

    @property
    def tile_size(self) -> int:
        """Side of a tile, px."""
        return self._patch_size

    @property
    def weak_model(self) -> Any:
        """The model whose maps are the answer, a `WeakModel`."""
        return self._tile_maps.weak_model

    def classify(
        self, tiles: Sequence[Rgb], timer: PhaseTimer
    ) -> tuple[Sequence[float], Sequence[ClassifiedMap]]:
        """Tumour probability of each tile, and its map (h, w), not yet refined."""
        with timer.phase("gate"):
            return self._tile_maps.classify(tiles)

    def segment_passed(
        self, tiles: TileBatch, contexts: Sequence[ClassifiedMap], timer: PhaseTimer
    ) -> Map:
        """Tumour probabilities (tiles, side, side): 0 or 1 where a map is none of tumour."""
        images = [tile.image for tile in tiles]
        with timer.phase("masks"):
            cams = self._tile_maps.refine(images, contexts)
            probabilities = []
            for cam, image in zip(cams, images, strict=True):
                probability = cam_to_probability(
                    cam.map, image, self._tile_maps.rule, cam.probability
                )
                probabilities.append(probability)
            return np.stack(probabilities)
