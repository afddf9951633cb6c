import torch

from epsam.sam.models import build_sam
from epsam.training.pretraining import Prototypes, SceneBatch, draw_batch, mask_loss, prime


def halves(points_xy, labels):
    """One 8 × 8 image whose left half is one texture and whose right half is another."""
    embeddings = torch.zeros(1, 2, 4, 4)
    embeddings[0, 0, :, :2] = 1
    embeddings[0, 1, :, 2:] = 1
    batch = SceneBatch(torch.zeros(1, 3, 8, 8), torch.tensor([0]), torch.tensor([points_xy]).float(),
                       torch.tensor([labels]), torch.zeros(1, 8, 8))
    return Prototypes()(embeddings, batch)[0]


def test_pixels_like_those_under_the_points_are_foreground():
    logits = halves([[1.0, 4.0], [2.0, 6.0]], [1, 1])
    assert (logits[:, :3] > 0).all()
    assert (logits[:, 5:] < 0).all()


def test_padding_points_count_for_nothing():
    assert torch.equal(halves([[1.0, 4.0], [7.0, 7.0]], [1, -1]), halves([[1.0, 4.0], [7.0, 0.0]], [1, -1]))


def test_a_batch_depends_on_its_key_alone_and_its_points_are_padded():
    first, again = (draw_batch(1, "train", 3, 2, 2, 0, 64) for _ in range(2))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.points_xy, again.points_xy)
    assert first.index.tolist() == [0, 0, 1, 1]
    assert set(first.labels.unique().tolist()) <= {-1, 1}
    assert not torch.equal(draw_batch(1, "held out", 3, 2, 2, 0, 64).images, first.images)


def test_a_perfect_mask_costs_next_to_nothing_and_a_wrong_one_a_lot():
    target = torch.zeros(1, 8, 8)
    target[:, :4] = 1
    assert float(mask_loss((target * 2 - 1) * 50, target)) < 1e-3
    assert float(mask_loss((1 - target * 2) * 50, target)) > 10


def test_priming_ties_queries_to_keys_and_undoes_the_values():
    torch.manual_seed(0)
    attention = prime(build_sam("vit_demo")).mask_decoder.transformer.layers[0].cross_attn_token_to_image
    assert torch.equal(attention.q_proj.weight, attention.k_proj.weight)
    rows = attention.v_proj.weight @ attention.v_proj.weight.T
    assert torch.allclose(rows, torch.eye(len(rows)), atol=1e-5)
