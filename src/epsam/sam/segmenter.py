"""SAM as EP-SAM uses it: patches are encoded by a frozen encoder, masks decoded from the embedding and a prompt."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from segment_anything.modeling import Sam
from torch import Tensor

from epsam.data.images import Mask, Rgb
from epsam.device import Compute
from epsam.sam.decoder import decode
from epsam.sam.frames import SamFrame
from epsam.sam.prompts import Prompt, prompt_batch


class Segmenter:
    """A SAM on its device, for patches of one size and prompts that are filled up to `n_point` points."""

    def __init__(self, sam: Sam, patch_size: int, n_point: int, compute: Compute) -> None:
        self.sam = sam.to(compute.device)
        self.frame = SamFrame(patch_size, sam.image_encoder.img_size)
        self._n_point = n_point
        self._compute = compute

    @torch.no_grad()
    def encode(self, images: Sequence[Rgb]) -> list[npt.NDArray[np.float16]]:
        """Embeddings (256, h, w) of RGB patches. Rounded to fp16, kept or not, so that both ways give one result."""
        pixels = torch.stack([self.frame.image(image) for image in images]).to(self._compute.device)
        with self._compute.autocast():
            embeddings = self.sam.image_encoder(pixels)
        return list(embeddings.half().cpu().numpy())

    def logits(self, embeddings: Sequence[npt.NDArray[np.float16]], prompts: Sequence[Prompt]) -> Tensor:
        """Mask logits (B, patch_size, patch_size), float32, with gradients for the decoder."""
        device = self._compute.device
        stacked = torch.from_numpy(np.stack(embeddings)).to(device).float()
        coordinates, labels = prompt_batch(prompts, self.frame, self._n_point)
        with self._compute.autocast():
            low_res = decode(self.sam, stacked, coordinates.to(device), labels.to(device))
        return self.frame.masks(low_res.float())

    @torch.no_grad()
    def probabilities(self, embeddings: Sequence[npt.NDArray[np.float16]],
                      prompts: Sequence[Prompt]) -> npt.NDArray[np.float32]:
        """Tumour probabilities (B, patch_size, patch_size); all 0 where a prompt is empty."""
        self.sam.eval()
        size = self.frame.patch_size
        result = np.zeros((len(embeddings), size, size), dtype=np.float32)
        prompted = [index for index, prompt in enumerate(prompts) if len(prompt)]
        if prompted:
            logits = self.logits([embeddings[i] for i in prompted], [prompts[i] for i in prompted])
            result[prompted] = logits.sigmoid().cpu().numpy()
        return result

    def masks(self, embeddings: Sequence[npt.NDArray[np.float16]], prompts: Sequence[Prompt]) -> list[Mask]:
        """Masks (patch_size, patch_size); empty where a prompt is."""
        return list(self.probabilities(embeddings, prompts) > 0.5)
