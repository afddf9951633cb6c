"""SAM as EP-SAM uses it: patches are encoded by a frozen encoder, masks decoded from the embedding
and a prompt.
"""

import copy
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from segment_anything.modeling import Sam
from torch import Tensor

from epsam.core.device import DeviceConfig
from epsam.data.images import Rgb
from epsam.segment.sam.compiled_encoder import CompiledEncoder
from epsam.segment.sam.frames import SamFrame
from epsam.segment.sam.mask_decoder import decode
from epsam.segment.sam.prompting.point_sampling import BOX_START, prompt_batch
from epsam.segment.sam.prompting.sam_prompt import SamPrompt


class SamSegmenter:
    """A SAM on its device, for patches of one size and prompts that are filled up to `n_point`
    points.
    """

    def __init__(
        self,
        sam: Sam,
        patch_size: int,
        n_point: int,
        device_config: DeviceConfig,
        compiled: bool = False,
    ) -> None:
        """`compiled`: the encoder goes through torch.compile where that can be had."""
        self.sam = sam.to(device_config.device)
        if device_config.device.type == "cuda":
            # For the convolutions of patch embedding and neck; on a CPU it gains nothing (ViT-B, 2
            # cores).
            sam.image_encoder.to(memory_format=torch.channels_last)
        self._encoder = CompiledEncoder(sam.image_encoder) if compiled else sam.image_encoder
        self.frame = SamFrame(patch_size, sam.image_encoder.img_size)
        self._n_point = n_point
        self.device_config = device_config

    def padded_to(self, n_point: int) -> "SamSegmenter":
        """The same SAM for prompts that are filled up to another number of points: it takes notice
        of filling.
        """
        other = copy.copy(self)
        other._n_point = n_point
        return other

    @torch.no_grad()
    def encode(self, images: Sequence[Rgb]) -> list[npt.NDArray[np.float16]]:
        """Embeddings (256, h, w) of RGB patches. Rounded to fp16, kept or not, so that both ways
        give one result.
        """
        pixels = torch.stack([self.frame.image(image) for image in images]).to(
            self.device_config.device
        )
        with self.device_config.autocast():
            embeddings = self._encoder(pixels)
        return list(embeddings.half().cpu().numpy())

    def logits(
        self, embeddings: Sequence[npt.NDArray[np.float16]], queries: Sequence[SamPrompt]
    ) -> Tensor:
        """Mask logits (B, patch_size, patch_size) of a query each, float32, with gradients for the
        decoder.
        """
        device = self.device_config.device
        stacked = torch.from_numpy(np.stack(embeddings)).to(device).float()
        coordinates, labels = prompt_batch(
            [query.points for query in queries], self.frame, self._n_point
        )
        with self.device_config.autocast():
            low_res = decode(
                self.sam,
                stacked,
                coordinates.to(device),
                labels.to(device),
                self._mask_prompts(queries),
            )
        return self.frame.masks(low_res.float())

    @torch.no_grad()
    def probabilities(
        self, embeddings: Sequence[npt.NDArray[np.float16]], queries: Sequence[Sequence[SamPrompt]]
    ) -> npt.NDArray[np.float32]:
        """Tumour probabilities (B, patch_size, patch_size): the highest of each patch's queries;
        all 0 without any.
        """
        self.sam.eval()
        size = self.frame.patch_size
        result = np.zeros((len(embeddings), size, size), dtype=np.float32)
        for group in _alike(queries):
            for start in range(0, len(group), len(embeddings)):
                chosen = group[start : start + len(embeddings)]
                logits = self.logits(
                    [embeddings[i] for i, _ in chosen], [query for _, query in chosen]
                )
                for (index, _), found in zip(chosen, logits.sigmoid().cpu().numpy(), strict=True):
                    np.maximum(result[index], found, out=result[index])
        return result

    def _mask_prompts(self, queries: Sequence[SamPrompt]) -> Tensor | None:
        activations = [query.cam for query in queries if query.cam is not None]
        if not activations:
            return None
        stacked = torch.from_numpy(np.stack(activations)).to(self.device_config.device).float()
        return self.frame.mask_prompts(stacked, self.sam.prompt_encoder.mask_input_size)


def _alike(queries: Sequence[Sequence[SamPrompt]]) -> list[list[tuple[int, SamPrompt]]]:
    """(patch's index, query) of all queries, in groups that can share a pass.

    SAM is not shown padding beside a box, so boxes with as many points each go together.
    """
    groups: dict[int, list[tuple[int, SamPrompt]]] = {}
    for index, own in enumerate(queries):
        for query in own:
            boxed = query.points[0, 2] == BOX_START
            groups.setdefault(len(query.points) if boxed else 0, []).append((index, query))
    return list(groups.values())
