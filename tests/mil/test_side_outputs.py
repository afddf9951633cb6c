import pytest
import torch

from epsam.mil.side_outputs import SideOutputs, fuse


def test_the_fused_map_is_the_weighted_sum():
    maps = [torch.full((1, 1, 2, 2), value) for value in (0.1, 0.5, 0.9)]
    # 0.2 · 0.1 + 0.35 · 0.5 + 0.45 · 0.9
    assert fuse(maps, (0.2, 0.35, 0.45)).flatten().tolist() == pytest.approx([0.6] * 4)


def test_logits_are_enlarged_between_corners_and_then_become_probabilities():
    outputs = SideOutputs(channels=(2,), weights=(1.0,))
    outputs.heads[0].weight.data = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    outputs.heads[0].bias.data.fill_(0.5)
    features = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).expand(1, 2, 2, 2)
    fused, side = outputs([features], side=3)
    # 3 · feature + 0.5; the middle of a row or column lies between its ends.
    logits = torch.tensor([[0.5, 2.0, 3.5], [3.5, 5.0, 6.5], [6.5, 8.0, 9.5]])
    torch.testing.assert_close(side[0, 0], logits.sigmoid())
    torch.testing.assert_close(fused, side)


def test_there_is_a_map_of_each_stage_after_the_fused_one():
    outputs = SideOutputs(channels=(3, 5), weights=(0.25, 0.75))
    features = [torch.rand(2, 3, 4, 4), torch.rand(2, 5, 2, 2)]
    fused, fine, coarse = outputs(features, side=8)
    assert fused.shape == fine.shape == coarse.shape == (2, 1, 8, 8)
    torch.testing.assert_close(fused, 0.25 * fine + 0.75 * coarse)
