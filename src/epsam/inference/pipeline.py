"""The trained pipeline: classifier → gate → map → initial mask → PEPM points → SAM, for one image of any size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from epsam.cam.activation import fused_activation
from epsam.cam.postprocess import make_mask, upsample
from epsam.classifier.resnet import AdlResNet
from epsam.data.images import Mask, Rgb
from epsam.data.views import apply_view, undo_view
from epsam.device import Compute
from epsam.inference.tiling import Map, Tiling
from epsam.options import MaskRule, PromptOptions
from epsam.randomness import generator
from epsam.sam.prompt_rules import Hints, make_prompt, viewed
from epsam.sam.segmenter import Segmenter


@dataclass(frozen=True)
class PromptRule:
    """How a window's prompt is made: as in the training run, which kept its values with its decoder."""

    masks: MaskRule
    prompt: PromptOptions


@dataclass(frozen=True)
class Gate:
    """Windows whose tumour probability is below `threshold` stay empty; a gate that is off lets all of them through."""

    on: bool
    threshold: float


@dataclass(frozen=True)
class Finding:
    """Of one image: tumour probability of each pixel and of its likeliest window; windows seen and gated out."""

    probability: Map
    classifier: float
    windows: int
    gated: int

    @property
    def mask(self) -> Mask:
        return self.probability > 0.5


class Pipeline:
    """Classifier and SAM with a trained decoder, both on their device."""

    def __init__(self, classifier: AdlResNet, segmenter: Segmenter, rule: PromptRule, compute: Compute,
                 batch_size: int, seed: int) -> None:
        self._classifier = classifier
        self._segmenter = segmenter
        self._rule = rule
        self._compute = compute
        self._batch_size = batch_size
        self._seed = seed

    @property
    def window_size(self) -> int:
        """Side of a window, px."""
        return self._segmenter.frame.patch_size

    def segment(self, name: str, image: Rgb, overlap: float, gate: Gate) -> Finding:
        """Tumour probability of every pixel of an RGB image of any size. `name` keys the draw of the points."""
        height, width = image.shape[:2]
        tiling = Tiling.over(height, width, self._segmenter.frame.patch_size, overlap)
        windows = tiling.windows(image)
        scores, maps = self._look(windows)
        open_windows = [i for i, score in enumerate(scores) if not gate.on or score >= gate.threshold]
        found = np.zeros((len(windows), tiling.side, tiling.side), dtype=np.float32)
        for start in range(0, len(open_windows), self._batch_size):
            chosen = open_windows[start : start + self._batch_size]
            hints = [self._hints(windows[i], maps[i]) for i in chosen]
            found[chosen] = self._ask([windows[i] for i in chosen], hints, name, chosen)
        return Finding(tiling.blend(found), max(scores), len(windows), len(windows) - len(open_windows))

    def _look(self, windows: Sequence[Rgb]) -> tuple[list[float], list[Map]]:
        """Tumour probability and activation map (h, w) of each window."""
        rule = self._rule.masks
        scores: list[float] = []
        maps: list[Map] = []
        for start in range(0, len(windows), self._batch_size):
            batch = torch.from_numpy(np.stack(windows[start : start + self._batch_size])).to(self._compute.device)
            with self._compute.autocast():
                found, activation = fused_activation(self._classifier, batch.permute(0, 3, 1, 2).float() / 255,
                                                     rule.rotations, rule.cam or self._classifier.spec.cam,
                                                     rule.cam_layer)
            scores += found.tolist()
            maps += list(activation.float().cpu().numpy())
        return scores, maps

    def _hints(self, window: Rgb, cam_map: Map) -> Hints:
        side = self._segmenter.frame.patch_size
        return Hints(upsample(cam_map, side, side), make_mask(cam_map, window, self._rule.masks))

    def _ask(self, windows: Sequence[Rgb], hints: Sequence[Hints], name: str,
             numbers: Sequence[int]) -> npt.NDArray[np.float32]:
        """Tumour probabilities (windows, side, side): the mean over the rule's views and draws of prompts."""
        rule, side = self._rule.prompt, self._segmenter.frame.patch_size
        total = np.zeros((len(windows), side, side), dtype=np.float32)
        for view in range(rule.n_view):
            embeddings = self._segmenter.encode([apply_view(window, view) for window in windows])
            for draw in range(rule.n_draw):
                variant = ("variant", view, draw) if (view, draw) != (0, 0) else ()
                prompts = [make_prompt(viewed(known, view), rule, generator(self._seed, "pepm", "infer", name, number,
                                                                             *variant))
                           for known, number in zip(hints, numbers, strict=True)]
                found = self._segmenter.probabilities(embeddings, prompts)
                total += np.stack([undo_view(probability, view) for probability in found])
        return np.asarray(total / (rule.n_view * rule.n_draw), dtype=np.float32)
