import pytest
import torch
from segment_anything.modeling import MaskDecoder, TwoWayTransformer

from epsam.segment.sam.mask_decoder import BatchedMaskDecoder, decode
from epsam.segment.sam.models import build_sam


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return build_sam("vit_demo")


def inputs(batch):
    source = torch.Generator().manual_seed(1)
    embeddings = torch.randn(batch, 256, 32, 32, generator=source)
    points = torch.rand(batch, 50, 2, generator=source) * 256
    labels = torch.ones(batch, 50, dtype=torch.int64)
    labels[0, 40:] = -1
    return embeddings, points, labels


def test_the_shipped_networks_use_the_batched_decoder(sam):
    assert isinstance(sam.mask_decoder, BatchedMaskDecoder)


def test_a_batch_equals_the_packages_decoder_image_by_image_and_so_do_its_gradients(sam):
    embeddings, points, labels = inputs(3)
    plain = MaskDecoder(transformer_dim=256, transformer=TwoWayTransformer(2, 256, 8, 2048)).eval()
    plain.load_state_dict(sam.mask_decoder.state_dict())
    expected = []
    for index in range(3):
        sparse, dense = sam.prompt_encoder(
            (points[index : index + 1], labels[index : index + 1]), None, None
        )
        masks, _ = plain(
            embeddings[index : index + 1], sam.prompt_encoder.get_dense_pe(), sparse, dense, False
        )
        expected.append(masks[0, 0])
    batch = decode(sam, embeddings, points, labels)
    assert torch.allclose(batch, torch.stack(expected), atol=1e-5)
    sam.zero_grad()
    for masks in (batch, torch.stack(expected)):
        masks.sigmoid().mean().backward()
    for (name, ours), theirs in zip(
        sam.mask_decoder.named_parameters(), plain.parameters(), strict=True
    ):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=1e-3, msg=name)
    sam.zero_grad()


def test_gradients_reach_the_decoder_and_nothing_else(sam):
    from epsam.segment.sam.models import freeze

    freeze(sam)
    decode(sam, *inputs(2)).sum().backward()
    assert sam.mask_decoder.output_upscaling[0].weight.grad is not None
    assert all(p.grad is None for p in sam.image_encoder.parameters())
    assert all(p.grad is None for p in sam.prompt_encoder.parameters())


@torch.no_grad()
def test_a_box_is_what_the_package_makes_of_it_with_and_without_points(sam):
    from epsam.segment.sam.prompting.point_sampling import (
        BOX_END,
        BOX_START,
        NEGATIVE,
        PADDING,
        POSITIVE,
    )

    embeddings = inputs(1)[0]
    corners, clicks = (
        torch.tensor([[[20.0, 30.0], [200.0, 150.0]]]),
        torch.tensor([[[60.0, 70.0], [5.0, 6.0]]]),
    )
    filler = torch.zeros(1, 3, 2)
    for points, labels in [
        (None, []),
        ((clicks, torch.tensor([[POSITIVE, NEGATIVE]])), [POSITIVE, NEGATIVE]),
    ]:
        sparse, dense = sam.prompt_encoder(points, corners.view(1, 4), None)
        expected, _ = sam.mask_decoder.predict_masks(
            embeddings, sam.prompt_encoder.get_dense_pe(), sparse, dense
        )
        rows = torch.cat([corners, clicks[:, : len(labels)], filler], dim=1)
        masks = decode(
            sam, embeddings, rows, torch.tensor([[BOX_START, BOX_END, *labels, *[PADDING] * 3]])
        )
        assert torch.equal(masks, expected[:, 0])


def test_a_batch_in_which_only_some_have_a_box_is_refused(sam):
    embeddings, points, labels = inputs(2)
    labels[0, :2] = torch.tensor([2, 3])
    with pytest.raises(ValueError, match="with and without a box"):
        decode(sam, embeddings, points, labels)
