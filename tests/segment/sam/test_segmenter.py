import numpy as np
import torch

from epsam.core.device import DeviceConfig
from epsam.segment.sam import segmenter as module
from epsam.segment.sam.frames import SamFrame
from epsam.segment.sam.models import build_sam
from epsam.segment.sam.prompting.point_sampling import collate_points
from epsam.segment.sam.prompting.sam_prompt import SamPrompt
from epsam.segment.sam.segmenter import PromptedEmbeddings, SamSegmenter
from epsam.segment.sam.specs import IMAGE, PROMPT_DIM, SPECS
from epsam.segment.sam.whole_patch import box_prompt


def test_prompts_are_padded_to_the_segmenters_number_of_points(monkeypatch):
    lengths, grid = [], SPECS["vit_demo"].grid

    def decode(sam, embeddings, coordinates, labels, masks, pixels):
        lengths.append(coordinates.shape[1])
        return torch.zeros(1, 4 * grid, 4 * grid)

    monkeypatch.setattr(module, "decode", decode)
    segmenter = SamSegmenter(build_sam("vit_demo"), 64, 9, DeviceConfig(torch.device("cpu"), None))
    prompt = SamPrompt(np.array([[3.0, 5.0, 1.0]], np.float32), None)
    for padded in (segmenter, segmenter.padded_to(4), segmenter):
        padded.predict_logits([{IMAGE: np.zeros((PROMPT_DIM, grid, grid), np.float16)}], [prompt])
    assert lengths == [9, 4, 9]


def test_sam_is_a_segmenter_of_prompted_embeddings():
    """Loss and probabilities are those of its logits; Dice and IoU by hand."""
    segmenter = SamSegmenter(build_sam("vit_demo"), 64, 2, DeviceConfig(torch.device("cpu"), None))
    (embedding,) = segmenter.encode([np.full((64, 64, 3), 128, np.uint8)])
    prompt = SamPrompt(np.array([[3.0, 5.0, 1.0]], np.float32), None)
    inputs = PromptedEmbeddings([embedding, embedding], [prompt, prompt])
    probabilities = segmenter.predict(inputs)
    assert probabilities.shape == (2, 1, 64, 64)

    masks = torch.zeros(2, 1, 64, 64)
    masks[0, 0, :10] = 1
    losses = segmenter.loss(inputs, masks)
    predicted = probabilities[0, 0].sum()
    overlap = probabilities[0, 0, :10].sum()
    dice = (2 * overlap + 1e-3) / (predicted + 640 + 1e-3)
    iou = (overlap + 1e-3) / (predicted + 640 - overlap + 1e-3)
    # Cross-entropy where the target is empty.
    empty = -(1 - probabilities[1, 0]).log().mean()
    torch.testing.assert_close(losses.detach(), torch.stack([2 - dice - iou, empty]))
    losses.sum().backward()
    assert segmenter.sam.mask_decoder.mask_tokens.weight.grad is not None


def test_the_box_round_a_patch_is_the_whole_of_sams_frame():
    prompt = box_prompt(512)
    assert prompt.points.tolist() == [[0, 0, 2], [512, 512, 3]]
    coordinates, labels = collate_points([prompt.points], SamFrame(512, 1024), 2)
    assert coordinates.tolist() == [[[0, 0], [1024, 1024]]]
    assert labels.tolist() == [[2, 3]]
