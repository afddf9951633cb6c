import numpy as np
import torch

from epsam.device import Compute
from epsam.sam import segmenter as module
from epsam.sam.models import PROMPT_DIM, SPECS, build_sam
from epsam.sam.queries import Query
from epsam.sam.segmenter import Segmenter


def test_prompts_are_filled_up_to_the_number_that_is_asked_for(monkeypatch):
    seen, grid = [], SPECS["vit_demo"].grid

    def decode(sam, embeddings, coordinates, labels, masks):
        seen.append(coordinates.shape[1])
        return torch.zeros(1, 4 * grid, 4 * grid)

    monkeypatch.setattr(module, "decode", decode)
    segmenter = Segmenter(build_sam("vit_demo"), 64, 9, Compute(torch.device("cpu"), None))
    query = Query(np.array([[3.0, 5.0, 1.0]], np.float32), None)
    for one in (segmenter, segmenter.filled_to(4), segmenter):
        one.logits([np.zeros((PROMPT_DIM, grid, grid), np.float16)], [query])
    assert seen == [9, 4, 9]
