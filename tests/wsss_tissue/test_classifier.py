"""The classifier of WSSS-Tissue: trunks, loss, and masks of three layers."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from epsam.config.classifier import ClassifierOptions
from epsam.core.device import select_device
from epsam.core.errors import TrainingError, WeightsError
from epsam.weak.registry import build_weak_model, load_weak_model, save_weak_model
from epsam.wsss_tissue.classifier import NORMAL, TUMOUR, TissueClassifier, TissueSpec
from epsam.wsss_tissue.layer_maps import compute_layer_maps, exceeds_normal
from epsam.wsss_tissue.resnet38 import ResNet38
from epsam.wsss_tissue.trunks import DilatedResNet

OPTIONS = ClassifierOptions(weak_model="wsss_tissue", backbone="resnet18", pretrained="none")


class TwoPixels(nn.Module):
    """Layers that are the image's red and green at half brightness, at full, and twice it."""

    channels = (2, 2, 2)

    def forward(self, images):
        first = images[:, :2] / 2
        second = first * 2
        return [first, second, second * 2]


@pytest.fixture
def model():
    """Red speaks for tumour, green for normal tissue, by hand."""
    classifier = TissueClassifier(TissueSpec("resnet18", 0))
    classifier.trunk = TwoPixels()
    classifier.fc8 = nn.Linear(2, 2, bias=False)
    classifier.fc8.weight.data = torch.tensor([[1.0, 0.0], [0.0, 0.5]])
    return classifier.eval()


@pytest.fixture
def image():
    """Red 1 and 0, green 0 and 1, in its two columns."""
    image = torch.zeros(1, 3, 2, 2)
    image[0, 0, :, 0] = 1
    image[0, 1, :, 1] = 1
    return image


def test_logits_are_those_of_the_mean_over_the_deepest_layers_cells(model, image):
    # Deepest layer: red 2 and 0, green 0 and 2; means 1 and 1.
    assert model.class_logits(model.layers(image)).tolist() == [[1, 0.5]]
    assert model(image).tolist() == [1]


def test_a_patch_with_tumour_has_normal_tissue_too(model, image):
    """Multi-label soft margin: −ln σ(1) and −ln σ(0.5), or −ln σ(−1) without tumour, in the
    mean of the two.
    """

    def cost(logit):
        return math.log(1 + math.exp(-logit))

    images = torch.cat([image, image])
    losses = model.loss(images, torch.tensor([1.0, 0.0]))
    expected = [(cost(1) + cost(0.5)) / 2, (cost(-1) + cost(0.5)) / 2]
    assert losses.tolist() == pytest.approx(expected)

    # With one class a patch, the first has no normal tissue: −ln σ(−0.5).
    model.tissue_spec = replace(model.tissue_spec, labels="single")
    losses = model.loss(images, torch.tensor([1.0, 0.0]))
    expected[0] = (cost(1) + cost(-0.5)) / 2
    assert losses.tolist() == pytest.approx(expected)


def test_attention_is_for_training_from_its_epoch_on(model, image):
    plain = model(image)
    model.dropout = nn.Identity()
    model.train()
    model.start_epoch(2)
    assert torch.equal(model(image), plain)
    model.start_epoch(3)
    # Every map has but 0 and its maximum, which γ drops.
    assert model(image).tolist() == [0]
    model.eval()
    assert torch.equal(model(image), plain)


def test_maps_of_every_layer_are_grad_cams_of_both_classes(model, image):
    _, maps = compute_layer_maps(model, image)
    # Mean gradient of the tumour logit by red of the deepest layer: 1 of 4 cells, 1/4; its map is
    # 2/4 where red is. A layer of half the values has twice the gradient: 1 · 2/4 = 1/2 again.
    for of_layer in maps:
        assert of_layer[0, TUMOUR].tolist() == [[0.5, 0], [0.5, 0]]
        assert of_layer[0, NORMAL].tolist() == [[0, 0.25], [0, 0.25]]
    assert exceeds_normal(maps[0]).tolist() == [[[0.5, 0], [0.5, 0]]]


def test_a_pixel_is_tumour_where_its_map_exceeds_that_of_normal_tissue(model, image):
    masks = model.layer_masks(image)
    assert masks.shape == (1, 3, 2, 2)
    assert masks[0].tolist() == [[[True, False], [True, False]]] * 3
    prediction = model.predict(image)
    assert prediction.maps[0, 0].tolist() == [[0.5, 0], [0.5, 0]]
    assert prediction.logits.tolist() == [[1]]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_dilated_resnet_has_three_layers_at_an_eighth_of_the_image(name):
    trunk = DilatedResNet(name).eval()
    with torch.no_grad():
        layers = trunk(torch.zeros(1, 3, 64, 64))
    assert [tuple(layer.shape[1:]) for layer in layers] == [
        (channels, 8, 8) for channels in trunk.channels
    ]


def test_resnet38_has_the_published_layers_and_freezes_what_they_freeze():
    with torch.device("meta"):
        trunk = ResNet38().train()
        layers = trunk(torch.zeros(1, 3, 224, 224, device="meta"))
    assert [tuple(layer.shape) for layer in layers] == [
        (1, 512, 28, 28),
        (1, 1024, 28, 28),
        (1, 4096, 28, 28),
    ]
    frozen = {name for name, value in trunk.named_parameters() if not value.requires_grad}
    assert "conv1a.weight" in frozen
    assert "b2_2.conv_branch2b1.weight" in frozen
    assert "b3.conv_branch2a.weight" not in frozen
    assert {"bn7.weight", "b7.bn_branch2b2.bias"} <= frozen
    assert not any(m.training for m in trunk.modules() if isinstance(m, nn.BatchNorm2d))
    assert trunk.b7.dropout_2b2.training
    assert (trunk.b6.dropout_2b1.p, trunk.b7.dropout_2b2.p) == (0.3, 0.5)
    # Names and shapes of the converted file, without its head.
    shapes = {key: tuple(value.shape) for key, value in trunk.state_dict().items()}
    assert shapes["b4.conv_branch1.weight"] == (512, 256, 1, 1)
    assert shapes["b5.conv_branch2b1.weight"] == (1024, 512, 3, 3)
    assert shapes["b7.conv_branch2b1.weight"] == (2048, 1024, 3, 3)
    assert not any(key.startswith("b5_1.conv_branch1") for key in shapes)


def test_a_checkpoint_gives_the_same_answers(tmp_path):
    model, path = build_weak_model(OPTIONS).eval(), tmp_path / "classifier.pth"
    save_weak_model(path, "wsss_tissue", model, {"patch_size": 32})
    loaded = load_weak_model(path, select_device("cpu", "fp32"))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))


def test_random_weights_depend_on_the_seed_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again = build_weak_model(OPTIONS), build_weak_model(OPTIONS)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.fc8.weight, again.fc8.weight)


def test_weights_that_cannot_be_had_are_named(tmp_path):
    resnet38 = {"weak_model": "wsss_tissue", "backbone": "resnet38"}
    with pytest.raises(WeightsError, match="its ImageNet weights are an MXNet file; convert it"):
        build_weak_model(ClassifierOptions(**resnet38, pretrained="imagenet"))
    with pytest.raises(TrainingError, match="no trunk of wsss_tissue; use resnet38, resnet50"):
        build_weak_model(ClassifierOptions(weak_model="wsss_tissue", backbone="timm:x"))
    torch.save({"conv1a.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other.pth: tensors do not fit resnet18"):
        build_weak_model(
            ClassifierOptions(
                weak_model="wsss_tissue",
                backbone="resnet18",
                pretrained=str(tmp_path / "other.pth"),
            )
        )
