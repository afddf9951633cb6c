"""SAM as EP-SAM uses it: a frozen encoder embeds a patch once, and the decoder predicts a mask from
the embedding and a prompt.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from segment_anything.modeling import Sam
from torch import Tensor

from epsam.core.device import DeviceConfig
from epsam.data.embeddings import Embedding
from epsam.data.images import Rgb
from epsam.segment.sam.backbone import Features, SamBackbone
from epsam.segment.sam.frames import SamFrame
from epsam.segment.sam.losses import decoder_loss
from epsam.segment.sam.mask_decoder import decode
from epsam.segment.sam.prompting.point_sampling import BOX_START, collate_points
from epsam.segment.sam.prompting.sam_prompt import SamPrompt
from epsam.segment.sam.specs import IMAGE, PIXELS, SAM_PIXELS, PixelScaling


class PromptedEmbeddings(NamedTuple):
    """A batch for SAM's decoder: the embedding and the prompt of each patch.

    Either all prompts have a CAM or none, and all a box or none.
    """

    embeddings: Sequence[Embedding]
    prompts: Sequence[SamPrompt]


class SamSegmenter:
    """A SAM on its device, for patches of one size and prompts padded to `n_point` points.

    It is a `Segmenter` of prompted embeddings, whose decoder alone is trained.
    """

    def __init__(
        self,
        sam: Sam,
        patch_size: int,
        n_point: int,
        device_config: DeviceConfig,
        compiled: bool = False,
        pixels: PixelScaling = SAM_PIXELS,
    ) -> None:
        """patch_size in px. compiled: the encoder goes through torch.compile where that works.

        pixels: see `SamFrame`.
        """
        self.sam = sam.to(device_config.device)
        if device_config.device.type == "cuda":
            # For the convolutions of patch embedding and neck; on a CPU it gains nothing (ViT-B, 2
            # cores).
            sam.image_encoder.to(memory_format=torch.channels_last)
        self.backbone = SamBackbone(sam, compiled)
        self.frame = SamFrame(patch_size, sam.image_encoder.img_size, pixels)
        self._n_point = n_point
        self.device_config = device_config

    def padded_to(self, n_point: int) -> "SamSegmenter":
        """The same SAM for prompts that are padded to another number of points.

        SAM's output depends slightly on the number of padding points, so each decoder is prompted
        with as many as in its training.
        """
        other = copy.copy(self)
        other._n_point = n_point
        return other

    @torch.no_grad()
    def encode(self, images: Sequence[Rgb]) -> list[Embedding]:
        """Embeddings float16 of RGB patches (patch_size, patch_size, 3)."""
        pixels = torch.stack([self.frame.to_sam_image(image) for image in images])
        pixels = pixels.to(self.device_config.device)
        with self.device_config.autocast():
            features = self.backbone.encode(pixels)
        # Rounded to fp16 even if they are not stored, so that a run with a cache and one without
        # give the same numbers.
        arrays = {name: feature.half().cpu().numpy() for name, feature in features.items()}
        embeddings = []
        for index in range(len(images)):
            embeddings.append({name: array[index] for name, array in arrays.items()})
        return embeddings

    def loss(
        self,
        inputs: PromptedEmbeddings,
        masks: Tensor,
        soft: bool = False,
        weights: Tensor | None = None,
    ) -> Tensor:
        """See `Segmenter`; `masks` (B, 1, patch_size, patch_size). soft, weights: see
        `decoder_loss`.
        """
        # Dice and IoU are computed in the patch's frame, at full resolution.
        logits = self.predict_logits(inputs.embeddings, inputs.prompts)
        # Class 0 of 1: tumour.
        weights = None if weights is None else weights.to(logits.device)
        return decoder_loss(logits, masks[:, 0].to(logits.device), soft, weights)

    @torch.no_grad()
    def predict(self, inputs: PromptedEmbeddings) -> Tensor:
        """See `Segmenter`: (B, 1, patch_size, patch_size)."""
        self.sam.eval()
        return self.predict_logits(inputs.embeddings, inputs.prompts).sigmoid()[:, None]

    def predict_logits(
        self, embeddings: Sequence[Embedding], prompts: Sequence[SamPrompt]
    ) -> Tensor:
        """Mask logits (B, patch_size, patch_size) float32 of B embeddings with a prompt each.

        Gradients reach the decoder. Either all prompts have a CAM or none, and all a box or none.
        """
        device = self.device_config.device
        features = self._collate_embeddings(embeddings)
        points = [prompt.points for prompt in prompts]
        coordinates, labels = collate_points(points, self.frame, self._n_point)
        with self.device_config.autocast():
            low_res = decode(
                self.sam,
                features[IMAGE],
                coordinates.to(device),
                labels.to(device),
                self._collate_cams(prompts),
                features.get(PIXELS),
            )
        return self.frame.to_patch_logits(low_res.float())

    @torch.no_grad()
    def predict_probabilities(
        self, embeddings: Sequence[Embedding], prompts: Sequence[Sequence[SamPrompt]]
    ) -> npt.NDArray[np.float32]:
        """Tumour probabilities (B, patch_size, patch_size): the maximum over each patch's prompts.

        They are 0 for a patch without prompts.
        """
        self.sam.eval()
        size = self.frame.patch_size
        result = np.zeros((len(embeddings), size, size), dtype=np.float32)
        for group in _group_by_batchable(prompts):
            for start in range(0, len(group), len(embeddings)):
                chunk = group[start : start + len(embeddings)]
                inputs = PromptedEmbeddings(
                    [embeddings[index] for index, _ in chunk], [prompt for _, prompt in chunk]
                )
                probabilities = self.predict(inputs)[:, 0].cpu().numpy()
                for (index, _), probability in zip(chunk, probabilities, strict=True):
                    np.maximum(result[index], probability, out=result[index])
        return result

    def _collate_embeddings(self, embeddings: Sequence[Embedding]) -> Features:
        """Each feature of the batch, (B, …) float32, on the device."""
        features = {}
        for name in embeddings[0]:
            stacked = torch.from_numpy(np.stack([embedding[name] for embedding in embeddings]))
            features[name] = stacked.to(self.device_config.device).float()
        return features

    def _collate_cams(self, prompts: Sequence[SamPrompt]) -> Tensor | None:
        """SAM's dense prompts (B, 1, h, w) as logits; None if the prompts have no CAM."""
        cams = [prompt.cam for prompt in prompts if prompt.cam is not None]
        if not cams:
            return None
        stacked = torch.from_numpy(np.stack(cams)).to(self.device_config.device).float()
        return self.frame.to_mask_logits(stacked, self.sam.prompt_encoder.mask_input_size)


def _group_by_batchable(
    prompts: Sequence[Sequence[SamPrompt]],
) -> list[list[tuple[int, SamPrompt]]]:
    """(index of the patch, prompt) of all prompts, in groups that can share a batch."""
    # SAM pads points alone, never points beside a box. So boxes are batched only with boxes that
    # have as many points beside them.
    groups: dict[int, list[tuple[int, SamPrompt]]] = {}
    for index, patch_prompts in enumerate(prompts):
        for prompt in patch_prompts:
            has_box = prompt.points[0, 2] == BOX_START
            groups.setdefault(len(prompt.points) if has_box else 0, []).append((index, prompt))
    return list(groups.values())
