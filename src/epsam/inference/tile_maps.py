"""The classifier's part of a tile model: scores and maps of tiles, and their refinement."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from epsam.cam.refiner import build_refiner
from epsam.cam.rotation import predict_rotated, select_cam, trained_cam
from epsam.config.masks import MaskRule
from epsam.core.device import DeviceConfig
from epsam.data.images import Rgb
from epsam.inference.tiling import Map


class ClassifiedMap(NamedTuple):
    """The map (h, w) of a tile, and the tile's tumour probability."""

    map: Map
    probability: float


class TileMaps:
    """A weak model on its device, whose maps are made and refined by a rule, as in training."""

    def __init__(self, weak_model: Any, rule: MaskRule, device_config: DeviceConfig) -> None:
        """weak_model: a `WeakModel`; it is set to evaluation mode."""
        self.weak_model = weak_model.eval()
        self.rule = rule
        self._predict = select_cam(weak_model, rule.cam or trained_cam(weak_model), rule.cam_layer)
        self._refiner = build_refiner(rule)
        self._device_config = device_config

    def classify(self, tiles: Sequence[Rgb]) -> tuple[list[float], list[ClassifiedMap]]:
        """Tumour probability of each tile, and its map (h, w), not yet refined."""
        images = self._to_images(tiles)
        with self._device_config.autocast():
            scores, cams = predict_rotated(self._predict, images, range(1))
        # Autocast may leave bfloat16, which NumPy does not know.
        probabilities = scores[0].tolist()
        maps = cams[0].float().cpu().numpy()
        pairs = zip(maps, probabilities, strict=True)
        return probabilities, [ClassifiedMap(cam, probability) for cam, probability in pairs]

    def refine(self, tiles: Sequence[Rgb], cams: Sequence[ClassifiedMap]) -> list[ClassifiedMap]:
        """The refined maps of a batch of tiles, such as averaged over rotations (Eq. 3).

        Not a part of `classify`: only tiles that pass the gate need it, and most of a slide's do
        not pass.
        """
        maps = torch.from_numpy(np.stack([cam.map for cam in cams])).to(self._device_config.device)
        with self._device_config.autocast():
            refined = self._refiner.refine(self._predict, self._to_images(tiles), maps)
        pairs = zip(refined.float().cpu().numpy(), cams, strict=True)
        return [ClassifiedMap(cam_map, cam.probability) for cam_map, cam in pairs]

    def _to_images(self, tiles: Sequence[Rgb]) -> torch.Tensor:
        """RGB tiles as (B, 3, side, side) in 0..1."""
        batch = torch.from_numpy(np.stack(tiles)).to(self._device_config.device)
        return batch.permute(0, 3, 1, 2).float() / 255
