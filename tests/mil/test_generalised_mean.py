import pytest
import torch

from epsam.mil.generalised_mean import generalised_mean


def test_the_generalised_mean_by_hand():
    # r = 2: the root of (0.36 + 0.64) / 4 = 0.25.
    maps = torch.tensor([[[[0.6, 0.8], [0.0, 0.0]]]])
    assert generalised_mean(maps, 2).item() == pytest.approx(0.5, abs=1e-5)
    # r = 1: the mean; a map of one value has this value for every r.
    assert generalised_mean(maps, 1).item() == pytest.approx(0.35, abs=1e-5)
    assert generalised_mean(torch.full((1, 1, 3, 5), 0.7), 4).item() == pytest.approx(0.7, abs=1e-5)


def test_a_greater_power_is_nearer_to_the_maximum():
    maps = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    values = [generalised_mean(maps, power).item() for power in (1, 4, 16, 64)]
    assert values == sorted(values)
    assert maps.mean().item() == pytest.approx(values[0], abs=1e-5)
    assert 0.9 * maps.max().item() < values[-1] < maps.max().item()


def test_a_map_of_zeros_has_a_small_value_and_a_gradient_of_zero():
    maps = torch.zeros(2, 1, 3, 3, requires_grad=True)
    values = generalised_mean(maps, 4)
    # The fourth root of 1e-6.
    assert values.tolist() == pytest.approx([0.0316228] * 2)
    values.sum().backward()
    assert torch.equal(maps.grad, torch.zeros(2, 1, 3, 3))


def test_the_gradient_is_that_of_finite_differences():
    maps = torch.rand(2, 1, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    maps[0, 0, 0, 0] = 0
    maps.requires_grad_()
    assert torch.autograd.gradcheck(lambda values: generalised_mean(values, 4.0), maps)
