"""The trained pipeline: classifier → gate → map → initial mask → PEPM points → SAM, for one image
of any size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from epsam.cam.postprocess import cam_to_mask, upsample
from epsam.cam.rotation import average_cam, cam_per_rotation
from epsam.config.masks import MaskRule
from epsam.config.sam import PromptOptions
from epsam.core.device import DeviceConfig
from epsam.core.seeding import generator
from epsam.data.d4 import apply_d4, undo_d4
from epsam.data.images import Mask, Rgb
from epsam.inference.tiling import Map, Tiling
from epsam.segment.sam.prompting.rules import PromptInputs, transform_inputs
from epsam.segment.sam.prompting.sam_prompt import make_sam_prompts
from epsam.segment.sam.segmenter import SamSegmenter
from epsam.weak.resnet import AdlResNet

Encoded = list[list[npt.NDArray[np.float16]]]
"""Embeddings of windows, by view."""


@dataclass(frozen=True)
class MapAndPromptOptions:
    """How a window's prompt is made: as in the training run, which kept its values with its
    decoder.
    """

    masks: MaskRule
    prompt: PromptOptions


@dataclass(frozen=True)
class Gate:
    """Windows whose tumour probability is below `threshold` stay empty; a gate that is off lets all
    of them through.
    """

    on: bool
    threshold: float

    def passes(self, score: float) -> bool:
        """Whether a window of this tumour probability goes through."""
        return not self.on or score >= self.threshold


@dataclass(frozen=True)
class Segmentation:
    """Of one image: tumour probability of each pixel and of its likeliest window; windows seen and
    gated out.
    """

    probability: Map
    classifier: float
    windows: int
    gated: int

    @property
    def mask(self) -> Mask:
        return self.probability > 0.5


class Pipeline:
    """Classifier and SAM with a trained decoder, both on their device."""

    def __init__(
        self,
        classifier: AdlResNet,
        segmenter: SamSegmenter,
        rule: MapAndPromptOptions,
        device_config: DeviceConfig,
        batch_size: int,
        seed: int,
        mpp: float | None = None,
    ) -> None:
        """`mpp` is the resolution of the windows that both were trained on, µm/px; None: not
        known.
        """
        self._classifier = classifier
        self._segmenter = segmenter
        self._rule = rule
        self._device_config = device_config
        self.batch_size = batch_size
        self.mpp = mpp
        self._seed = seed

    @property
    def tile_size(self) -> int:
        """Side of a window, px."""
        return self._segmenter.frame.patch_size

    def segment(self, name: str, image: Rgb, overlap: float, gate: Gate) -> Segmentation:
        """Tumour probability of every pixel of an RGB image of any size. `name` keys the draw of
        the points.
        """
        height, width = image.shape[:2]
        tiling = Tiling.over(height, width, self.tile_size, overlap)
        windows = tiling.windows(image)
        scores, maps = self.classify(windows)
        open_windows = [i for i, score in enumerate(scores) if gate.passes(score)]
        found = np.zeros((len(windows), tiling.side, tiling.side), dtype=np.float32)
        for start in range(0, len(open_windows), self.batch_size):
            chosen = open_windows[start : start + self.batch_size]
            images = [windows[i] for i in chosen]
            fused_maps = self.average_rotations(images, [maps[i] for i in chosen])
            found[chosen] = self.decode(self.encode(images), images, fused_maps, name, chosen)
        return Segmentation(
            tiling.blend(found), max(scores), len(windows), len(windows) - len(open_windows)
        )

    def classify(self, windows: Sequence[Rgb]) -> tuple[list[float], list[Map]]:
        """The classifier's tumour probability of each window, and its activation (h, w) before
        `average_rotations`.
        """
        scores: list[float] = []
        maps: list[Map] = []
        for start in range(0, len(windows), self.batch_size):
            found, activation = self._turned(windows[start : start + self.batch_size], range(1))
            scores += found[0].tolist()
            maps += list(activation[0].cpu().numpy())
        return scores, maps

    def average_rotations(self, windows: Sequence[Rgb], maps: Sequence[Map]) -> list[Map]:
        """The activation of up to `batch_size` windows, fused with that of their rotations (paper
        Eq. 3).

        Apart from `classify`, as only windows that the gate lets through need it: most of a slide's do
        not.
        """
        upright = torch.from_numpy(np.stack(maps)[None]).to(self._device_config.device)
        turns = range(1, self._rule.masks.rotations)
        every = torch.cat([upright, self._turned(windows, turns)[1]]) if turns else upright
        return list(average_cam(every).cpu().numpy())

    def _turned(
        self, windows: Sequence[Rgb], turns: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rule = self._rule.masks
        batch = torch.from_numpy(np.stack(windows)).to(self._device_config.device)
        with self._device_config.autocast():
            scores, maps = cam_per_rotation(
                self._classifier,
                batch.permute(0, 3, 1, 2).float() / 255,
                turns,
                rule.cam or self._classifier.spec.cam,
                rule.cam_layer,
            )
        return scores, maps.float()

    def encode(self, windows: Sequence[Rgb]) -> Encoded:
        """SAM's embeddings of up to `batch_size` windows, for each of the rule's views."""
        return [
            self._segmenter.encode([apply_d4(window, view) for window in windows])
            for view in range(self._rule.prompt.n_transform)
        ]

    def decode(
        self,
        encoded: Encoded,
        windows: Sequence[Rgb],
        maps: Sequence[Map],
        name: str,
        numbers: Sequence[int],
    ) -> npt.NDArray[np.float32]:
        """Tumour probabilities (windows, side, side) of windows by number: the mean over the rule's
        views and draws.

        `name` keys the draws of prompts.
        """
        rule, side = self._rule.prompt, self.tile_size
        hints = [
            self._hints(window, cam_map) for window, cam_map in zip(windows, maps, strict=True)
        ]
        total = np.zeros((len(windows), side, side), dtype=np.float32)
        for view, embeddings in enumerate(encoded):
            known = [transform_inputs(one, view) for one in hints]
            for draw in range(rule.n_sample):
                variant = ("variant", view, draw) if (view, draw) != (0, 0) else ()
                rngs = [
                    generator(self._seed, "pepm", "infer", name, number, *variant)
                    for number in numbers
                ]
                found = self._segmenter.probabilities(
                    embeddings, make_sam_prompts(known, rule, rngs)
                )
                total += np.stack([undo_d4(probability, view) for probability in found])
        return np.asarray(total / (rule.n_transform * rule.n_sample), dtype=np.float32)

    def _hints(self, window: Rgb, cam_map: Map) -> PromptInputs:
        side = self.tile_size
        return PromptInputs(
            upsample(cam_map, side, side), cam_to_mask(cam_map, window, self._rule.masks)
        )
