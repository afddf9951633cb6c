"""EP-SAM from Python: load a trained run, and segment images and slides with it.

docs/api.md has an example of each function, run by a test. All errors that a user can mend are
`epsam.core.errors.EpsamError`, of one line.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from epsam.cam.postprocess import cam_to_mask
from epsam.cam.refiner import compute_refined_maps
from epsam.cam.refiner_sam import locate_refiner_sam
from epsam.config.inference import InferOptions
from epsam.config.masks import MaskRule
from epsam.config.metadata import merge_fields
from epsam.core.device import DeviceConfig, select_device
from epsam.core.errors import ImageError, SlideError, WeightsError
from epsam.core.files import read_json
from epsam.data.cam_store import CamMap
from epsam.data.images import Mask, Rgb
from epsam.extraction.discovery import FAILED
from epsam.inference.inputs import find_slides
from epsam.inference.loading import load_tile_model, make_slide_settings, sam_places
from epsam.inference.pipeline import Pipeline
from epsam.inference.segment_slides import segment_slides
from epsam.inference.slide_store import SlideStore
from epsam.inference.tile_maps import ClassifiedMap
from epsam.inference.tile_model import Gate, Segmentation, TileModel, segment_image
from epsam.inference.weights import inference_key, resolve_sam_model_type
from epsam.paths import RunPaths
from epsam.segment.sam.prompting.point_sampling import PointPrompt

__all__ = ["ImageCam", "Run", "Segmentation", "SlideOutput", "load_run"]


@dataclass(frozen=True)
class ImageCam:
    """What the weak model sees in one image.

    probability: of tumour in the image, 0..1. cam: (h, w) float32 in 0..1, in the resolution of the
    network, averaged over rotations; all 0 if nothing is active. mask: the initial mask made from
    it, bool (height, width).
    """

    probability: float
    cam: CamMap
    mask: Mask


@dataclass(frozen=True)
class SlideOutput:
    """The results of one slide.

    folder: holds probability.tif, mask.tif, contours and overlay. row: its row of slides.csv.
    """

    folder: Path
    row: dict[str, Any]


class Run:
    """A trained run on its device; made by `load_run`."""

    def __init__(
        self,
        options: InferOptions,
        model: TileModel,
        mask_rule: MaskRule,
        device_config: DeviceConfig,
    ) -> None:
        self._options = options
        self._model = model
        self._mask_rule = mask_rule
        self._device_config = device_config

    @property
    def tile_size(self) -> int:
        """Side in px of the patches that the run was trained on."""
        return self._model.tile_size

    @property
    def mpp(self) -> float | None:
        """Resolution of these patches, µm/px; None: not known."""
        return self._model.mpp

    def segment_image(
        self,
        image: Rgb,
        name: str = "image",
        gate: bool = True,
        gate_threshold: float = 0.5,
        overlap: float = 0.25,
    ) -> Segmentation:
        """Tumour probability and mask of an RGB image (height, width, 3) uint8 of any size.

        The image has the run's resolution. The same image gives the same result under any `name`,
        which is for models that draw by it. gate: leave tiles empty whose tumour probability is
        below `gate_threshold`. overlap: of neighbouring tiles, 0 to 0.9 of their side. The result's
        `probability` (height, width) is float32 in 0..1, its `mask` bool.

        Raises ImageError if the array is no RGB image.
        """
        _require_rgb(image)
        return segment_image(self._model, name, image, overlap, Gate(gate, gate_threshold))

    def segment_slide(self, path: str | Path, output_dir: str | Path) -> SlideOutput:
        """Segment a whole slide into `output_dir`/<slide>/, as infer.sh does.

        A slide that is finished there is not segmented again. Raises SlideError if it cannot be
        read or segmented, WeightsError if the run does not say at which resolution.
        """
        record = find_slides(Path(path))[0]
        settings = make_slide_settings(self._options, self._model)
        store = SlideStore(Path(output_dir), inference_key(self._options))
        segment_slides([record], self._model, settings, store)
        result = store.read_result(record.name)
        if result is None:
            raise SlideError(f"{path}: no result; another process works on it, run again later")
        if result.row["status"] == FAILED:
            raise SlideError(f"{path}: {result.row['reason']}")
        return SlideOutput(Path(output_dir) / record.name, dict(result.row))

    def cam(self, image: Rgb) -> ImageCam:
        """The weak model's class activation map of a square RGB image (side, side, 3) uint8.

        Raises ImageError if the image is not square, WeightsError if the run has no weak model.
        """
        _require_rgb(image)
        weak_model = getattr(self._model, "weak_model", None)
        if weak_model is None:
            raise WeightsError("the run has no weak model; train one by train_classifier.py")
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self._device_config.device)
        images = pixels.permute(2, 0, 1)[None].float() / 255
        rule = self._located_rule
        with self._device_config.autocast():
            probabilities, maps = compute_refined_maps(weak_model, images, rule)
        cam_map = maps[0].float().cpu().numpy()
        probability = float(probabilities[0])
        return ImageCam(probability, cam_map, cam_to_mask(cam_map, image, rule, probability))

    @cached_property
    def _located_rule(self) -> MaskRule:
        # Only here: a segmenter needs no SAM for its masks, even if its training had one.
        return locate_refiner_sam(self._mask_rule, sam_places(self._options))

    def prompts(self, image: Rgb) -> PointPrompt:
        """The points that SAM is prompted with in an image of one tile: (N, 3) float32, each x, y
        in px of the image and its label (1: tumour, 0: none); N is 0 if nothing is to be prompted
        for.

        Raises ImageError if the image is not of `tile_size`, WeightsError if the run has no SAM.
        """
        _require_rgb(image)
        if not isinstance(self._model, Pipeline):
            raise WeightsError(
                "the run's segmenter takes no prompts; load a run with SAM's decoder"
            )
        side = self.tile_size
        if image.shape[:2] != (side, side):
            raise ImageError(
                f"image of {image.shape[1]}×{image.shape[0]} px: prompts are those of one tile; "
                f"crop it to {side}×{side}"
            )
        result = self.cam(image)
        return self._model.sample_points(image, ClassifiedMap(result.cam, result.probability))


def load_run(
    folder: str | Path,
    sam_checkpoint: str | Path = "",
    device: str = "auto",
    precision: str = "auto",
    batch_size: int = 4,
    seed: int = 22,
    mpp: float = 0.0,
) -> Run:
    """Load a trained run, the folder `checkpoints/<run>`.

    sam_checkpoint: the weights of SAM; "": the official file beside the run's folder, downloaded
    once if absent. device: "auto", "cpu" or "cuda". precision: "auto", "fp32", "bf16" or "fp16".
    batch_size: tiles that go through the networks together. seed: of the prompts.
    mpp: resolution at which slides are read, µm/px; 0: that of the training patches.

    Raises WeightsError if a file is missing or does not fit.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise WeightsError(f"{folder}: no such run; give a folder of checkpoints/")
    options = InferOptions(
        run=folder.name,
        checkpoint_root=str(folder.parent),
        sam_checkpoint=str(sam_checkpoint),
        device=device,
        precision=precision,
        batch_size=batch_size,
        seed=seed,
        mpp=mpp,
    )
    options = resolve_sam_model_type(options)
    device_config = select_device(device, precision)
    model = load_tile_model(options, device_config)
    if isinstance(model, Pipeline):
        return Run(options, model, model.mask_rule, device_config)
    rule_file = RunPaths.of(options).mask_rule
    rule = merge_fields(MaskRule, read_json(rule_file)) if rule_file.is_file() else MaskRule()
    return Run(options, model, rule, device_config)


def _require_rgb(image: Rgb) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ImageError(
            f"array of shape {image.shape} and type {image.dtype}: no RGB image; "
            "give (height, width, 3) uint8"
        )
