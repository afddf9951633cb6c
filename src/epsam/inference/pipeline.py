"""The trained pipeline: classifier → gate → map → initial mask → PEPM points → SAM, for one image of any size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from epsam.cam.activation import fused_activation
from epsam.cam.postprocess import initial_mask, upsample
from epsam.classifier.resnet import AdlResNet
from epsam.data.images import Mask, Rgb
from epsam.device import Compute
from epsam.inference.tiling import Map, Tiling
from epsam.randomness import generator
from epsam.sam.frames import Points
from epsam.sam.prompts import pepm_points
from epsam.sam.segmenter import Segmenter


@dataclass(frozen=True)
class PromptRule:
    """How a window's points are made: as in the training run, which kept its values with its decoder."""

    rotations: int
    quantile: float
    open_kernel: int
    open_at: str
    n_point: int


@dataclass(frozen=True)
class Gate:
    """Windows whose tumour probability is below `threshold` stay empty; a gate that is off lets all of them through."""

    on: bool
    threshold: float

    def lets(self, score: float) -> bool:
        """Whether a window of this tumour probability goes through."""
        return not self.on or score >= self.threshold


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
                 batch_size: int, seed: int, mpp: float | None = None) -> None:
        """`mpp` is the resolution of the windows that both were trained on, µm/px; None: not known."""
        self._classifier = classifier
        self._segmenter = segmenter
        self._rule = rule
        self._compute = compute
        self.batch_size = batch_size
        self.mpp = mpp
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
        scores, maps = self.look(windows)
        open_windows = [i for i, score in enumerate(scores) if gate.lets(score)]
        found = np.zeros((len(windows), tiling.side, tiling.side), dtype=np.float32)
        for start in range(0, len(open_windows), self.batch_size):
            chosen = open_windows[start : start + self.batch_size]
            embeddings = self.encode([windows[i] for i in chosen])
            found[chosen] = self.decode(embeddings, [maps[i] for i in chosen], name, chosen)
        return Finding(tiling.blend(found), max(scores), len(windows), len(windows) - len(open_windows))

    def look(self, windows: Sequence[Rgb]) -> tuple[list[float], list[Map]]:
        """The classifier's tumour probability and activation map (h, w) of each window."""
        scores: list[float] = []
        maps: list[Map] = []
        for start in range(0, len(windows), self.batch_size):
            batch = torch.from_numpy(np.stack(windows[start : start + self.batch_size])).to(self._compute.device)
            with self._compute.autocast():
                found, activation = fused_activation(self._classifier, batch.permute(0, 3, 1, 2).float() / 255,
                                                     self._rule.rotations)
            scores += found.tolist()
            maps += list(activation.float().cpu().numpy())
        return scores, maps

    def encode(self, windows: Sequence[Rgb]) -> list[npt.NDArray[np.float16]]:
        """SAM's embeddings of up to `batch_size` windows."""
        return self._segmenter.encode(windows)

    def decode(self, embeddings: Sequence[npt.NDArray[np.float16]], maps: Sequence[Map], name: str,
               numbers: Sequence[int]) -> npt.NDArray[np.float32]:
        """Tumour probabilities (windows, side, side) of windows by number; `name` keys the draw of their points."""
        points = [self._points(cam_map, name, number) for cam_map, number in zip(maps, numbers, strict=True)]
        return self._segmenter.probabilities(embeddings, points)

    def _points(self, cam_map: Map, name: str, window: int) -> Points:
        side, rule = self._segmenter.frame.patch_size, self._rule
        mask = initial_mask(cam_map, side, side, rule.quantile, rule.open_kernel, rule.open_at)
        rng = generator(self._seed, "pepm", "infer", name, window)
        return pepm_points(upsample(cam_map, side, side), mask, rule.n_point, rng)
