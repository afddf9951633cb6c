import numpy as np
import torch

from epsam.core.device import DeviceConfig
from epsam.segment.sam import segmenter as module
from epsam.segment.sam.models import PROMPT_DIM, SPECS, build_sam
from epsam.segment.sam.prompting.sam_prompt import SamPrompt
from epsam.segment.sam.segmenter import SamSegmenter


def test_prompts_are_padded_to_the_segmenters_number_of_points(monkeypatch):
    lengths, grid = [], SPECS["vit_demo"].grid

    def decode(sam, embeddings, coordinates, labels, masks):
        lengths.append(coordinates.shape[1])
        return torch.zeros(1, 4 * grid, 4 * grid)

    monkeypatch.setattr(module, "decode", decode)
    segmenter = SamSegmenter(build_sam("vit_demo"), 64, 9, DeviceConfig(torch.device("cpu"), None))
    prompt = SamPrompt(np.array([[3.0, 5.0, 1.0]], np.float32), None)
    for padded in (segmenter, segmenter.padded_to(4), segmenter):
        padded.predict_logits([np.zeros((PROMPT_DIM, grid, grid), np.float16)], [prompt])
    assert lengths == [9, 4, 9]
