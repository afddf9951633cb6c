"""The optimised classifier gives the answers of the trained one."""

import copy

import pytest
import torch
from torch import nn

from epsam.cam.rotation import rotation_averaged_cam
from epsam.core.device import DeviceConfig
from epsam.weak.fast_inference import optimise_for_inference
from epsam.weak.resnet import NetworkSpec, build_classifier
from epsam.weak.winograd import WinogradConv

FP32, BF16 = (DeviceConfig(torch.device("cpu"), dtype) for dtype in (None, torch.bfloat16))


def trained_classifier(spec):
    """A network whose batch norms hold other numbers than those they start with."""
    torch.manual_seed(0)
    model = build_classifier(spec)
    for norm in model.modules():
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        nn.init.normal_(norm.running_mean, 0, 0.1)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.1)
    return model


def noise(side=64):
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def is_close(actual, expected):
    return (actual - expected).abs().max() <= 3e-5 * expected.abs().max()


@pytest.mark.parametrize(
    "spec",
    [
        NetworkSpec("resnet50"),
        NetworkSpec("resnet18", adl_positions=("1.0", "4.1")),
        NetworkSpec("resnet18", evp_fuse="none", adl_positions=()),
    ],
)
def test_same_logits_and_features(spec):
    model = trained_classifier(spec).eval()
    optimised = optimise_for_inference(model, FP32)
    with torch.no_grad():
        for actual, expected in zip(
            optimised.forward_features(noise()), model.forward_features(noise()), strict=True
        ):
            assert is_close(actual, expected)
        assert is_close(optimised.features(noise(), "3.1"), model.features(noise(), "3.1"))


@pytest.mark.parametrize("cam", ["enhanced_adl", "gradcam", "gradcam++", "eigencam"])
def test_same_maps(cam):
    model = trained_classifier(NetworkSpec("resnet18"))
    for actual, expected in zip(
        rotation_averaged_cam(optimise_for_inference(model, FP32), noise(), 2, cam),
        rotation_averaged_cam(model, noise(), 2, cam),
        strict=True,
    ):
        torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


def test_the_trained_model_stays_unchanged():
    model = trained_classifier(NetworkSpec("resnet18")).train()
    before = copy.deepcopy(model.state_dict())
    optimised = optimise_for_inference(model, FP32)
    assert model.training
    assert not optimised.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.state_dict().keys() == before.keys()


@pytest.mark.parametrize(("device_config", "winograd_convolutions"), [(FP32, 3 + 4), (BF16, 0)])
def test_no_batch_norm_is_left_and_winograd_is_for_fp32(device_config, winograd_convolutions):
    # ResNet18 has four 3 × 3 convolutions a layer. Of layer 3 the first halves the size; layer 4
    # has no stride here.
    optimised = optimise_for_inference(build_classifier(NetworkSpec("resnet18")), device_config)
    kinds = [type(module) for module in optimised.modules()]
    assert nn.BatchNorm2d not in kinds
    assert kinds.count(WinogradConv) == winograd_convolutions
