"""Progressive dropout attention, by hand on four pixels."""

import pytest
import torch

from epsam.wsss_tissue.progressive_dropout import (
    attention_map,
    class_maps,
    drop_progressively,
    gamma_at,
)


def test_gamma_starts_at_epoch_3_and_shrinks_by_2_percent_an_epoch_down_to_0_65():
    assert [gamma_at(epoch) for epoch in (0, 1, 2)] == [None, None, None]
    assert gamma_at(3) == pytest.approx(0.98**3)
    assert gamma_at(10) == pytest.approx(0.98**10)
    # 0.98²¹ = 0.654 is above 0.65 and shrinks once more; 0.98²² = 0.641 stays.
    for epoch in (22, 23, 40):
        assert gamma_at(epoch) == pytest.approx(0.98**22)


def test_a_class_map_is_the_weighted_sum_of_the_features_without_what_is_negative():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
    weights = torch.tensor([[1.0, -1.0], [0.5, 2.0]])
    # Class 0: 1 − 3 < 0, and 2; class 1: 0.5 + 6, and 1.
    assert class_maps(features, weights).tolist() == [[[[0, 2]], [[6.5, 1]]]]


def test_values_above_gamma_times_the_maximum_are_dropped_and_the_rest_averaged_over_classes():
    maps = torch.tensor([[[[10.0, 8.0], [7.9, 1.0]], [[4.0, 3.0], [2.0, 0.0]]]])
    # γ 0.8: above 8 of the first class 10 alone, above 3.2 of the second 4 alone.
    expected = [[[[0, (8 + 3) / 2], [(7.9 + 2) / 2, 0.5]]]]
    torch.testing.assert_close(attention_map(maps, 0.8), torch.tensor(expected))
    # γ 1 drops nothing.
    torch.testing.assert_close(attention_map(maps, 1.0)[0, 0, 0, 0], torch.tensor(7.0))


def test_every_image_has_a_maximum_of_its_own():
    maps = torch.tensor([[[[10.0, 1.0]]], [[[1.0, 0.5]]]])
    assert attention_map(maps, 0.7)[:, 0, 0].tolist() == [[0, 1], [0, 0.5]]


def test_features_are_multiplied_by_the_attention_of_their_own_maps():
    features = torch.tensor([[[[4.0, 2.0, 1.0]], [[1.0, 1.0, 1.0]]]])
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # Maps 4, 2, 1 and 1, 1, 1; γ 0.9 drops the 4 and all ones of the second class.
    attention = torch.tensor([0.0, 1.0, 0.5])
    dropped = drop_progressively(features, weights, 0.9)
    torch.testing.assert_close(dropped, features * attention)
