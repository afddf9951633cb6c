"""The attention-based dropout layer on features small enough to follow by hand."""

import pytest
import torch

from epsam.weak.adl import AttentionDropout, set_adl_active

# Two channels, mean attention [[1, 2], [4, 5]]; at threshold 0.8 the limit is 4.
FEATURES = torch.tensor([[[[0.0, 1.0], [3.0, 4.0]], [[2.0, 3.0], [5.0, 6.0]]]])


def test_identity_in_evaluation():
    assert torch.equal(AttentionDropout(drop_rate=1.0).eval()(FEATURES), FEATURES)


def test_drop_hides_attention_above_the_fraction_of_the_largest_and_keeps_what_equals_it():
    dropped = AttentionDropout(drop_rate=1.0, threshold=0.8)(FEATURES)
    # 5 > 0.8 · 5 = 4 goes in both channels; 4 itself stays (paper Eq. 1).
    assert torch.equal(dropped, FEATURES * torch.tensor([[1.0, 1.0], [1.0, 0.0]]))


def test_importance_weights_by_the_sigmoid_of_attention():
    weighted = AttentionDropout(drop_rate=0.0)(FEATURES)
    sigmoid = 1 / (1 + torch.exp(-torch.tensor([[1.0, 2.0], [4.0, 5.0]])))
    torch.testing.assert_close(weighted, FEATURES * sigmoid)


def test_limit_belongs_to_each_sample():
    strong, weak = FEATURES, FEATURES / 100
    both = AttentionDropout(drop_rate=1.0)(torch.cat([strong, weak]))
    assert torch.equal(both[1] == 0, both[0] == 0)


@pytest.mark.parametrize("features", [torch.zeros(1, 2, 2, 2), -FEATURES - 1])
def test_without_positive_attention_nothing_is_dropped(features):
    assert torch.equal(AttentionDropout(drop_rate=1.0)(features), features)


def test_one_draw_a_forward_pass_for_all_of_the_batch_at_the_drop_rate():
    layer = AttentionDropout(drop_rate=0.75)
    batch = FEATURES.repeat(8, 1, 1, 1)
    torch.manual_seed(0)
    drops = 0
    for _ in range(400):
        is_hidden = (layer(batch)[:, 0, 1, 1] == 0).tolist()
        assert len(set(is_hidden)) == 1
        drops += is_hidden[0]
    # 400 draws of 0.75: mean 300, standard deviation 8.7.
    assert 265 <= drops <= 335


def test_torchs_seed_decides_the_draws():
    layer = AttentionDropout(drop_rate=0.5)

    def draws():
        torch.manual_seed(7)
        return [bool(layer(FEATURES)[0, 0, 1, 1] == 0) for _ in range(20)]

    first = draws()
    assert len(set(first)) == 2
    assert draws() == first


def test_gradient_flows_through_what_is_kept():
    features = FEATURES.clone().requires_grad_()
    AttentionDropout(drop_rate=1.0)(features).sum().backward()
    assert torch.equal(features.grad, torch.tensor([[1.0, 1.0], [1.0, 0.0]]).expand(1, 2, 2, 2))


def test_switched_off_it_is_the_identity_in_training_too_until_it_is_switched_on():
    model = torch.nn.Sequential(torch.nn.Identity(), AttentionDropout(drop_rate=0.0)).train()
    set_adl_active(model, False)
    assert torch.equal(model(FEATURES), FEATURES)
    set_adl_active(model, True)
    assert not torch.equal(model(FEATURES), FEATURES)
