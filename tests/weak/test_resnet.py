"""The classifier's network: strides, ADL positions, channels, CAM, and that training changes it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from epsam.config.classifier import NetworkOptions
from epsam.core.errors import TrainingError
from epsam.weak.adl import AttentionDropout
from epsam.weak.frequency import extract_high_frequencies
from epsam.weak.resnet import NetworkSpec, build_classifier

SMALL = NetworkSpec("resnet18")


def noise(count, side, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def small():
    torch.manual_seed(0)
    return build_classifier(SMALL).eval()


@pytest.mark.parametrize(("backbone", "channels"), [("resnet18", 512), ("resnet50", 2048)])
@pytest.mark.parametrize("side", [64, 96])
def test_one_logit_an_image_and_a_feature_cell_every_16_px(backbone, channels, side):
    model = build_classifier(NetworkSpec(backbone)).eval()
    with torch.no_grad():
        logits, features = model.forward_features(noise(2, side))
        assert logits.shape == (2,)
        assert features.shape == (2, channels, side // 16, side // 16)
        assert torch.equal(model(noise(2, side)), logits)


def test_batch_of_one_keeps_its_dimension(small):
    assert small(noise(1, 64)).shape == (1,)


def test_last_layer_is_neither_strided_nor_dilated():
    for backbone in ("resnet18", "resnet50"):
        convolutions = [
            m
            for m in build_classifier(NetworkSpec(backbone)).layer4.modules()
            if isinstance(m, nn.Conv2d)
        ]
        assert {m.stride for m in convolutions} == {(1, 1)}
        assert {m.dilation for m in convolutions} == {(1, 1)}


def test_adl_takes_an_index_of_its_own_after_its_block():
    model = build_classifier(
        NetworkSpec(
            "resnet50", adl_positions=("3.0", "4.0", "4.2"), adl_drop_rate=0.5, adl_threshold=0.9
        )
    )
    indices = {}
    for layer in ("layer1", "layer2", "layer3", "layer4"):
        modules = enumerate(getattr(model, layer))
        indices[layer] = [i for i, m in modules if isinstance(m, AttentionDropout)]
    assert indices == {"layer1": [], "layer2": [], "layer3": [1], "layer4": [1, 4]}
    assert (model.layer4[4].drop_rate, model.layer4[4].threshold) == (0.5, 0.9)
    blocks = sorted({int(k.split(".")[1]) for k in model.state_dict() if k.startswith("layer3.")})
    assert blocks == [0, 2, 3, 4, 5, 6]


def test_default_positions_follow_the_paper():
    model = build_classifier(NetworkSpec.of(NetworkOptions()))
    assert isinstance(model.layer3[1], AttentionDropout)
    assert isinstance(model.layer4[1], AttentionDropout)
    assert sum(isinstance(m, AttentionDropout) for m in model.modules()) == 2


def test_spec_takes_every_network_option_that_shapes_the_network():
    options = NetworkOptions(
        backbone="resnet18",
        evp_ratio=0.1,
        adl_positions=("4.1",),
        adl_drop_rate=0.3,
        adl_threshold=0.7,
        input_size=64,
    )
    assert NetworkSpec.of(options) == NetworkSpec(
        "resnet18", 0.1, "ratio", ("4.1",), 0.3, 0.7, True, 64
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "resnet99"}, "resnet99"),
        ({"adl_positions": ("3.9",)}, "3.9"),
        ({"adl_positions": ("five",)}, "five"),
        ({"backbone": "resnet18", "adl_positions": ("4.2",)}, "4.2"),
    ],
)
def test_impossible_network_is_one_clear_line(change, message):
    with pytest.raises(TrainingError, match=message) as raised:
        build_classifier(NetworkSpec(**change))
    assert "\n" not in str(raised.value)


def test_input_is_normalised_rgb_and_the_raw_prompt(small):
    images = noise(2, 32)
    prepared = small.prepare(images)
    assert prepared.shape == (2, 4, 32, 32)
    torch.testing.assert_close(prepared[:, 0], (images[:, 0] - 0.485) / 0.229)
    torch.testing.assert_close(prepared[:, 2], (images[:, 2] - 0.406) / 0.225)
    torch.testing.assert_close(prepared[:, 3:], extract_high_frequencies(images, 0.25))


def test_published_setting_takes_plain_rgb():
    model = build_classifier(NetworkSpec("resnet18", evp_block="center2x2", normalise=False))
    images = noise(1, 32)
    prepared = model.prepare(images)
    assert torch.equal(prepared[:, :3], images)
    torch.testing.assert_close(prepared[:, 3:], extract_high_frequencies(images, block="center2x2"))


def test_images_are_resized_before_the_prompt_is_computed():
    model = build_classifier(NetworkSpec("resnet18", input_size=32, normalise=False))
    images = noise(1, 64)
    prepared = model.prepare(images)
    shrunk = F.interpolate(images, size=(32, 32), mode="bilinear", antialias=True)
    torch.testing.assert_close(prepared[:, :3], shrunk)
    torch.testing.assert_close(prepared[:, 3:], extract_high_frequencies(shrunk))


def test_cam_is_the_weighted_feature_sum_without_bias_cut_at_0(small):
    with torch.no_grad():
        small.fc.bias.fill_(5.0)
        _, features = small.forward_features(noise(2, 64))
        expected = torch.zeros(2, 4, 4)
        for channel in range(512):
            expected += small.fc.weight[0, channel] * features[:, channel]
        assert (expected < 0).any()
        torch.testing.assert_close(
            small.cam(noise(2, 64)), expected.clamp(min=0), atol=1e-5, rtol=1e-4
        )


def test_mean_of_the_uncut_cam_plus_bias_is_the_logit(small):
    # Global average pooling and a linear layer commute, which ties the map to the decision
    # (docs/deviations.md, "Layer of the map").
    with torch.no_grad():
        logits, features = small.forward_features(noise(2, 64))
        uncut = torch.einsum("bkhw,k->bhw", features, small.fc.weight[0])
        torch.testing.assert_close(
            uncut.mean(dim=(1, 2)) + small.fc.bias, logits, atol=1e-5, rtol=1e-4
        )


def test_image_in_a_batch_gives_the_logit_it_gives_alone(small):
    images = noise(3, 64)
    with torch.no_grad():
        alone = torch.cat([small(image[None]) for image in images])
        torch.testing.assert_close(small(images), alone, atol=1e-5, rtol=1e-4)


@pytest.mark.long
def test_a_few_steps_tell_bright_from_dark(small):
    torch.manual_seed(1)
    images = noise(8, 32) * 0.2
    images[4:] += 0.7
    labels = torch.tensor([0.0] * 4 + [1.0] * 4)
    optimiser = torch.optim.Adam(small.parameters(), lr=1e-3)
    small.train()
    prompt_weights = small.conv1.weight[:, 3].detach().clone()
    margins = []
    for _ in range(60):
        logits = small(images)
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(logits, labels).backward()
        optimiser.step()
        margins.append(float((logits[4:].mean() - logits[:4].mean()).detach()))
    # ADL drops at random: single steps are noisy, several are not.
    assert sum(margins[-5:]) / 5 > 1
    # The prompt's channel learns, too.
    assert (small.conv1.weight[:, 3] - prompt_weights).abs().max() > 0


@pytest.mark.parametrize(
    ("cam", "channels", "adl"),
    [
        ("gradcam", 3, 0),
        ("gradcam++", 3, 0),
        ("eigencam", 3, 0),
        ("adl", 3, 2),
        ("enhanced_adl", 4, 2),
    ],
)
def test_each_cam_method_has_its_network(cam, channels, adl):
    model = build_classifier(NetworkSpec.of(NetworkOptions(cam=cam)))
    assert model.conv1.in_channels == channels
    assert sum(isinstance(m, AttentionDropout) for m in model.modules()) == adl
    assert model.eval().prepare(noise(1, 32)).shape[1] == channels


def test_the_prompt_can_be_added_to_the_patch_instead():
    model = build_classifier(NetworkSpec.of(NetworkOptions(backbone="resnet18", evp_fuse="add")))
    images = noise(2, 32)
    raised = images + extract_high_frequencies(images, 0.25)
    expected = (raised[:, 2] - 0.406) / 0.225
    prepared = model.prepare(images)
    assert prepared.shape == (2, 3, 32, 32)
    torch.testing.assert_close(prepared[:, 2], expected)


def test_a_blocks_features_are_those_before_the_dropout_that_follows_it():
    model = build_classifier(NetworkSpec("resnet18", adl_drop_rate=1.0))
    images = noise(1, 64)
    model.train()
    torch.manual_seed(0)
    features = model.features(images, "3.0")
    torch.manual_seed(0)
    following = model.layer3[1](features)
    assert not torch.equal(features, following)
    assert (following == 0).sum() > (features == 0).sum()


def test_images_that_are_resized_may_come_in_bf16():
    model = build_classifier(NetworkSpec(backbone="resnet18", input_size=64)).eval()
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = model(images.bfloat16())
    with torch.no_grad():
        assert torch.allclose(logits.float(), model(images), atol=0.2)
