"""The branch of the decoder that reads the image."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from epsam.core.device import select_device
from epsam.core.errors import EpsamError, WeightsError
from epsam.export.onnx_decoder import require_no_pixels
from epsam.segment.sam.detail import DetailBranch
from epsam.segment.sam.mask_decoder import decode
from epsam.segment.sam.models import build_sam, freeze, load_sam
from epsam.segment.sam.segmenter import PromptedEmbeddings, SamSegmenter
from epsam.segment.sam.specs import SPECS
from epsam.segment.sam.whole_patch import box_prompt

SIDE = 64
OUTPUT = "mask_decoder.detail.output.weight"


@pytest.fixture
def sams(monkeypatch):
    """vit_demo and vit_small with the same weights, but for the branch; 64 px, one block."""
    for name in ("vit_demo", "vit_small"):
        small = replace(SPECS[name], depth=1, global_blocks=(0,), input_px=SIDE)
        monkeypatch.setitem(SPECS, name, small)
    torch.manual_seed(0)
    demo, small = build_sam("vit_demo"), build_sam("vit_small")
    small.load_state_dict(demo.state_dict(), strict=False)
    return demo, small


def inputs(batch):
    """Embeddings, points, labels and images of a batch."""
    source = torch.Generator().manual_seed(1)
    embeddings = torch.randn(batch, 256, 8, 8, generator=source)
    points = torch.rand(batch, 5, 2, generator=source) * SIDE
    pixels = torch.randn(batch, 3, SIDE, SIDE, generator=source)
    return embeddings, points, torch.ones(batch, 5, dtype=torch.int64), pixels


def test_weights_of_vit_demo_load_with_the_same_new_branch_each_time(sams, tmp_path):
    demo, _ = sams
    torch.save(demo.state_dict(), tmp_path / "demo.pth")
    torch.manual_seed(7)
    first = load_sam("vit_small", tmp_path / "demo.pth").state_dict()
    torch.manual_seed(8)
    second = load_sam("vit_small", tmp_path / "demo.pth").state_dict()
    for key, tensor in first.items():
        assert torch.equal(tensor, second[key]), key
    for key, tensor in demo.state_dict().items():
        assert torch.equal(tensor, first[key]), key


def test_a_file_with_a_branch_keeps_it_and_half_a_branch_is_refused(sams, tmp_path):
    _, small = sams
    wake(small.mask_decoder.detail)
    weights = small.state_dict()
    torch.save(weights, tmp_path / "small.pth")
    loaded = load_sam("vit_small", tmp_path / "small.pth")
    assert torch.equal(loaded.mask_decoder.detail.output.weight, weights[OUTPUT])

    del weights[OUTPUT]
    torch.save(weights, tmp_path / "half.pth")
    with pytest.raises(WeightsError, match="detail.output.weight"):
        load_sam("vit_small", tmp_path / "half.pth")


def wake(branch):
    """Let a new branch, which adds nothing, add something."""
    torch.manual_seed(2)
    nn.init.normal_(branch.output.weight, std=0.1)


def test_the_branch_adds_nothing_before_it_is_trained(sams):
    demo, small = sams
    embeddings, points, labels, pixels = inputs(2)
    plain = decode(demo, embeddings, points, labels)
    assert torch.equal(decode(small, embeddings, points, labels, pixels=pixels), plain)


def test_details_have_half_the_side_of_the_image_and_the_channels_that_are_asked_for():
    details = DetailBranch(256, 32)(torch.zeros(2, 256, 8, 8), torch.zeros(2, 3, SIDE, SIDE))
    assert details.shape == (2, 32, SIDE // 2, SIDE // 2)


def test_a_trained_branch_follows_the_pixels_where_the_embedding_is_the_same(sams):
    _, small = sams
    wake(small.mask_decoder.detail)
    embeddings, points, labels, pixels = inputs(1)
    changed = pixels.clone()
    changed[:, :, :16, :16] += 1
    before = decode(small, embeddings, points, labels, pixels=pixels)
    after = decode(small, embeddings, points, labels, pixels=changed)
    difference = (after - before).detach().abs()
    assert float(difference.max()) > 1e-3
    # 16 px of the image are 8 of the logits.
    assert float(difference[0, :8, :8].mean()) > float(difference[0, 16:, 16:].mean())


def test_a_mask_does_not_depend_on_its_batch(sams):
    _, small = sams
    wake(small.mask_decoder.detail)
    embeddings, points, labels, pixels = inputs(3)
    together = decode(small, embeddings, points, labels, pixels=pixels)
    alone = decode(small, embeddings[1:2], points[1:2], labels[1:2], pixels=pixels[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-4)


def test_prompts_of_one_image_share_its_pixels(sams):
    _, small = sams
    wake(small.mask_decoder.detail)
    embeddings, points, labels, pixels = inputs(1)
    both = torch.cat([points, points.flip(1) * 0.5])
    expected = []
    for index in range(2):
        expected.append(decode(small, embeddings, both[index : index + 1], labels, pixels=pixels))
    masks = decode(small, embeddings, both, labels.expand(2, -1), pixels=pixels)
    torch.testing.assert_close(masks, torch.cat(expected), atol=1e-5, rtol=1e-4)


def test_a_step_trains_branch_and_decoder_and_nothing_else(sams):
    _, small = sams
    freeze(small)
    segmenter = SamSegmenter(small, SIDE, 1, select_device("cpu", "fp32"))
    image = torch.randint(0, 255, (SIDE, SIDE, 3), generator=torch.Generator().manual_seed(3))
    embeddings = segmenter.encode([image.byte().numpy()])
    masks = torch.zeros(1, 1, SIDE, SIDE)
    masks[..., :30, :30] = 1
    loss = segmenter.loss(PromptedEmbeddings(embeddings, [box_prompt(SIDE)]), masks)
    loss.sum().backward()
    assert float(small.mask_decoder.detail.output.weight.grad.abs().max()) > 0
    assert small.mask_decoder.output_upscaling[0].weight.grad is not None
    assert all(parameter.grad is None for parameter in small.image_encoder.parameters())


def test_without_the_image_it_says_what_is_missing(sams):
    _, small = sams
    embeddings, points, labels, _ = inputs(1)
    with pytest.raises(ValueError, match="reads the image's pixels"):
        decode(small, embeddings, points, labels)


def test_sams_onnx_file_has_no_place_for_the_image(sams):
    demo, small = sams
    require_no_pixels("vit_demo", demo)
    with pytest.raises(EpsamError, match="decoder of vit_small reads the image.*leave onnx out"):
        require_no_pixels("vit_small", small)
