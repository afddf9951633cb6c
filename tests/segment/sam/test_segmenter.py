import numpy as np
import torch

from epsam.core.device import DeviceConfig
from epsam.segment.sam import segmenter as module
from epsam.segment.sam.models import PROMPT_DIM, SPECS, build_sam
from epsam.segment.sam.prompting.sam_prompt import SamPrompt
from epsam.segment.sam.segmenter import SamSegmenter


def test_prompts_are_filled_up_to_the_number_that_is_asked_for(monkeypatch):
    seen, grid = [], SPECS["vit_demo"].grid

    def decode(sam, embeddings, coordinates, labels, masks):
        seen.append(coordinates.shape[1])
        return torch.zeros(1, 4 * grid, 4 * grid)

    monkeypatch.setattr(module, "decode", decode)
    segmenter = SamSegmenter(build_sam("vit_demo"), 64, 9, DeviceConfig(torch.device("cpu"), None))
    query = SamPrompt(np.array([[3.0, 5.0, 1.0]], np.float32), None)
    for one in (segmenter, segmenter.padded_to(4), segmenter):
        one.logits([np.zeros((PROMPT_DIM, grid, grid), np.float16)], [query])
    assert seen == [9, 4, 9]
