"""Winograd's convolution against a count by hand and against PyTorch's in double precision."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from epsam.weak.winograd import WinogradConv, is_winograd_compatible


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def convolution(inputs, outputs, bias=True):
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
    with torch.no_grad():
        conv.weight.copy_(noise(outputs, inputs, 3, 3, seed=1))
    return conv


def test_kernel_of_ones_counts_neighbours_inside_the_image():
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    nn.init.ones_(conv.weight)
    result = WinogradConv(conv)(torch.ones(1, 1, 3, 5))
    by_hand = torch.tensor([[4, 6, 6, 6, 4], [6, 9, 9, 9, 6], [4, 6, 6, 6, 4]], dtype=torch.float32)
    torch.testing.assert_close(result[0, 0], by_hand, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 7), (4, 4), (5, 8), (13, 6)])
@pytest.mark.parametrize("bias", [True, False])
def test_is_the_convolution_for_every_size(height, width, bias):
    images, conv = noise(3, 5, height, width), convolution(5, 4, bias)
    exact = F.conv2d(
        images.double(), conv.weight.double(), conv.bias.double() if bias else None, padding=1
    )
    result = WinogradConv(conv)(images.to(memory_format=torch.channels_last))
    assert result.shape == (3, 4, height, width)
    assert (result - exact).abs().max() < 1e-5 * max(exact.abs().max(), 1)


def test_gradients_go_through_it():
    images, conv = noise(1, 2, 6, 6).requires_grad_(), convolution(2, 3)
    (expected,) = torch.autograd.grad(conv(images).square().sum(), images)
    (actual,) = torch.autograd.grad(WinogradConv(conv)(images).square().sum(), images)
    torch.testing.assert_close(actual, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"stride": 2},
        {"dilation": 2},
        {"groups": 2},
        {"padding": 0},
        {"kernel_size": 5},
        {"padding_mode": "reflect"},
    ],
)
def test_replaces_plain_3_by_3_convolutions_only(change):
    form = {"kernel_size": 3, "padding": 1}
    assert is_winograd_compatible(nn.Conv2d(4, 4, **form))
    assert not is_winograd_compatible(nn.Conv2d(4, 4, **{**form, **change}))
