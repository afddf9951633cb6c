"""EP-SAM as a tile model.

classifier → gate → rotation-averaged CAM → initial mask → PEPM points → SAM (paper Fig. 2)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from epsam.cam.postprocess import cam_to_mask, upsample
from epsam.config.masks import MaskRule
from epsam.config.sam import PromptOptions
from epsam.core.device import DeviceConfig
from epsam.data.d4 import apply_d4, undo_d4
from epsam.data.embeddings import Embedding, digest_of_image
from epsam.data.holes import fill_probability_holes
from epsam.data.images import Rgb
from epsam.inference.progress import PhaseTimer
from epsam.inference.tile_maps import ClassifiedMap, TileMaps
from epsam.inference.tile_model import GatedTileModel, TileBatch
from epsam.inference.tiling import Map
from epsam.segment.sam.prompting.generators import prompt_generators
from epsam.segment.sam.prompting.point_sampling import PointPrompt
from epsam.segment.sam.prompting.rules import PromptInputs, transform_inputs
from epsam.segment.sam.prompting.sam_prompt import all_points, make_sam_prompts
from epsam.segment.sam.segmenter import SamSegmenter

Encoded = list[list[Embedding]]
"""SAM's image embeddings, first by transform, then by tile."""


@dataclass(frozen=True)
class MapAndPromptOptions:
    """How initial masks and prompts are made: as in training, which keeps both with its decoder."""

    masks: MaskRule
    prompt: PromptOptions


class Pipeline(GatedTileModel):
    """Classifier and SAM with a trained decoder, both on their device."""

    phases: tuple[str, ...] = ("gate", "encoder", "decoder")

    def __init__(
        self,
        classifier: Any,
        segmenter: SamSegmenter,
        options: MapAndPromptOptions,
        device_config: DeviceConfig,
        batch_size: int,
        seed: int,
        mpp: float | None = None,
    ) -> None:
        """`classifier`: a `WeakModel`. `mpp`: resolution of the patches that both were trained on,
        µm/px; None: not known.
        """
        self._tile_maps = TileMaps(classifier, options.masks, device_config)
        self._segmenter = segmenter
        self._options = options
        self.batch_size = batch_size
        self.mpp = mpp
        self._seed = seed

    @property
    def tile_size(self) -> int:
        """Side of a tile, px."""
        return self._segmenter.frame.patch_size

    @property
    def weak_model(self) -> Any:
        """The classifier, a `WeakModel`."""
        return self._tile_maps.weak_model

    @property
    def mask_rule(self) -> MaskRule:
        """How CAMs and initial masks are made: as in training."""
        return self._options.masks

    def sample_points(self, tile: Rgb, cam: ClassifiedMap) -> PointPrompt:
        """The points (N, 3) of the first prompts of an image of one tile; N may be 0."""
        rngs = prompt_generators((self._seed,), [digest_of_image(tile)], transform=0, sample=0)
        inputs = [self._prompt_inputs(tile, cam)]
        (prompts,) = make_sam_prompts(inputs, self._options.prompt, rngs)
        return all_points(prompts)

    def classify(
        self, tiles: Sequence[Rgb], timer: PhaseTimer
    ) -> tuple[Sequence[float], Sequence[ClassifiedMap]]:
        """Tumour probability of each tile, and its CAM (h, w), not yet refined."""
        with timer.phase("gate"):
            return self._tile_maps.classify(tiles)

    def segment_passed(
        self, tiles: TileBatch, contexts: Sequence[ClassifiedMap], timer: PhaseTimer
    ) -> Map:
        """Tumour probabilities (tiles, side, side); `contexts` are the tiles' upright CAMs."""
        images = [tile.image for tile in tiles]
        with timer.phase("gate"):
            cams = self._tile_maps.refine(images, contexts)
        with timer.phase("encoder"):
            encoded = self.encode(images)
        with timer.phase("decoder"):
            return self.decode(encoded, tiles, cams)

    def encode(self, tiles: Sequence[Rgb]) -> Encoded:
        """SAM's embeddings of up to `batch_size` tiles, for each TTA transform."""
        encoded = []
        for transform in range(self._options.prompt.n_transform):
            encoded.append(self._segmenter.encode([apply_d4(tile, transform) for tile in tiles]))
        return encoded

    def decode(
        self, encoded: Encoded, tiles: TileBatch, cams: Sequence[ClassifiedMap]
    ) -> npt.NDArray[np.float32]:
        """Tumour probabilities (tiles, side, side): means over transforms and prompt samples.

        The pixels of a tile key its prompt samples: not its file's name, place or batch.
        """
        options, side = self._options.prompt, self.tile_size
        inputs = []
        for tile, cam in zip(tiles, cams, strict=True):
            inputs.append(self._prompt_inputs(tile.image, cam))
        digests = [digest_of_image(tile.image) for tile in tiles]
        total = np.zeros((len(tiles), side, side), dtype=np.float32)
        # Transforms and prompt samples are test-time augmentation (this project); the first
        # transform is the identity.
        for transform, embeddings in enumerate(encoded):
            transformed = [transform_inputs(tile_inputs, transform) for tile_inputs in inputs]
            for sample in range(options.n_sample):
                rngs = prompt_generators((self._seed,), digests, transform, sample)
                prompts = make_sam_prompts(transformed, options, rngs)
                probabilities = self._segmenter.predict_probabilities(embeddings, prompts)
                total += np.stack([undo_d4(tile, transform) for tile in probabilities])
        means = np.asarray(total / (options.n_transform * options.n_sample), dtype=np.float32)
        if options.fill_decoder_holes:
            means = np.stack([fill_probability_holes(mean) for mean in means])
        return means

    def _prompt_inputs(self, tile: Rgb, cam: ClassifiedMap) -> PromptInputs:
        side = self.tile_size
        mask = cam_to_mask(cam.map, tile, self._options.masks, cam.probability)
        return PromptInputs(upsample(cam.map, side, side), mask)
