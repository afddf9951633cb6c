import math

import pytest
import torch

from demo.sam_pretraining import Prototypes, SceneBatch, draw_batch, mask_loss, prime, region_loss
from epsam.segment.sam.models import build_sam


def halves(points_xy, labels):
    """One 8 × 8 image whose left half is one texture and whose right half is another."""
    embeddings = torch.zeros(1, 2, 4, 4)
    embeddings[0, 0, :, :2] = 1
    embeddings[0, 1, :, 2:] = 1
    batch = SceneBatch(
        torch.zeros(1, 3, 8, 8),
        torch.zeros(1, 8, 8).long(),
        torch.tensor([0]),
        torch.tensor([points_xy]).float(),
        torch.tensor([labels]),
        torch.zeros(1, 8, 8),
    )
    return Prototypes()(embeddings, batch)[0]


def test_pixels_like_those_under_the_points_are_foreground():
    logits = halves([[1.0, 4.0], [2.0, 6.0]], [1, 1])
    assert (logits[:, :3] > 0).all()
    assert (logits[:, 5:] < 0).all()


def test_padding_points_count_for_nothing():
    assert torch.equal(
        halves([[1.0, 4.0], [7.0, 7.0]], [1, -1]), halves([[1.0, 4.0], [7.0, 0.0]], [1, -1])
    )


def test_a_batch_depends_on_its_key_alone_and_its_points_are_padded():
    first, again = (draw_batch(1, "train", 3, 2, 2, 0, 64) for _ in range(2))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.points_xy, again.points_xy)
    assert first.index.tolist() == [0, 0, 1, 1]
    assert first.regions.shape == (2, 64, 64)
    assert set(first.labels.unique().tolist()) <= {-1, 1}
    assert not torch.equal(draw_batch(1, "held out", 3, 2, 2, 0, 64).images, first.images)


def test_a_perfect_mask_costs_next_to_nothing_and_a_wrong_one_a_lot():
    target = torch.zeros(1, 8, 8)
    target[:, :4] = 1
    assert float(mask_loss((target * 2 - 1) * 50, target)) < 1e-3
    assert float(mask_loss((1 - target * 2) * 50, target)) > 10


def test_priming_ties_queries_to_keys_and_undoes_the_values():
    torch.manual_seed(0)
    attention = (
        prime(build_sam("vit_demo")).mask_decoder.transformer.layers[0].cross_attn_token_to_image
    )
    assert torch.equal(attention.q_proj.weight, attention.k_proj.weight)
    rows = attention.v_proj.weight @ attention.v_proj.weight.T
    assert torch.allclose(rows, torch.eye(len(rows)), atol=1e-5)


# Two tokens with embeddings at right angles, each 2 × 2 pixels.
CROSSED = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])


@pytest.mark.parametrize("numbers", [(0, 1), (0, 2)])
def test_tokens_unlike_the_other_regions_cost_little_whatever_the_regions_numbers(numbers):
    regions = torch.tensor([[[numbers[0]] * 2 + [numbers[1]] * 2] * 2])
    # Likeness 1 to its region and 0 to the other, times 3: −log(e³ / (e³ + 1)).
    assert float(region_loss(CROSSED, regions, torch.tensor(3.0))) == pytest.approx(
        math.log1p(math.exp(-3)), rel=1e-5
    )


def test_a_token_across_a_border_belongs_to_both_regions_by_its_fraction():
    regions = torch.tensor([[[0, 0, 0, 1]] * 2])
    # Region 0 has all of token 0 and half of token 1: its mean embedding points along (2, 1) / √5.
    to_first = torch.tensor([[2 / math.sqrt(5), 0.0], [1 / math.sqrt(5), 1.0]])
    log_probability = to_first.log_softmax(dim=1)
    expected = (
        -(log_probability[0, 0] + 0.5 * log_probability[1, 0]) / 1.5
        - 0.5 * log_probability[1, 1] / 0.5
    ) / 2
    assert float(region_loss(CROSSED, regions, torch.tensor(1.0))) == pytest.approx(
        float(expected), rel=1e-5
    )


def test_a_scene_of_one_region_has_nothing_to_tell_apart():
    assert float(
        region_loss(CROSSED, torch.zeros(1, 2, 4).long(), torch.tensor(3.0))
    ) == pytest.approx(0, abs=1e-6)
