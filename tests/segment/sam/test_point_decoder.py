"""Masks of many single points in one image, against the decoder of batches."""

import pytest
import torch

from epsam.segment.sam.mask_decoder import decode
from epsam.segment.sam.models import build_sam
from epsam.segment.sam.point_decoder import PointDecoder
from support.mini import smaller_sam


@pytest.fixture(scope="module")
def sam():
    """A SAM whose every bias and scale differs from 0 and 1."""
    torch.manual_seed(0)
    with smaller_sam():
        sam = build_sam("vit_demo")
    with torch.no_grad():
        for parameter in sam.mask_decoder.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return sam


@pytest.fixture
def embedding(sam):
    grid = sam.prompt_encoder.image_embedding_size
    return torch.randn(1, 256, *grid, generator=torch.Generator().manual_seed(1))


def points_of(sam, count):
    generator = torch.Generator().manual_seed(2)
    return sam.image_encoder.img_size * torch.rand(count, 2, generator=generator)


def test_the_masks_are_those_of_a_batch_of_prompts(sam, embedding):
    points = points_of(sam, 5)
    with torch.no_grad():
        expected = decode(sam, embedding.expand(5, -1, -1, -1), points[:, None], torch.ones(5, 1))
    masks = PointDecoder(sam, embedding).decode(points)
    # The masks differ from each other by far more than rounding.
    assert float((expected[0] - expected[1]).abs().max()) > 0.01
    torch.testing.assert_close(masks, expected, atol=1e-5, rtol=1e-4)


def test_a_mask_does_not_depend_on_what_is_decoded_with_it(sam, embedding):
    points = points_of(sam, 5)
    decoder = PointDecoder(sam, embedding)
    together = decoder.decode(points)
    for index in range(5):
        alone = decoder.decode(points[index : index + 1])[0]
        torch.testing.assert_close(alone, together[index], atol=1e-5, rtol=1e-4)


def test_nothing_is_learnt_through_it(sam, embedding):
    assert any(parameter.requires_grad for parameter in sam.parameters())
    assert not PointDecoder(sam, embedding).decode(points_of(sam, 2)).requires_grad
