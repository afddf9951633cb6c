"""The three networks: shapes, loss, start and checkpoints."""

import math

import numpy as np
import pytest
import torch
from torchvision import models

from epsam.config.classifier import ClassifierOptions
from epsam.core.device import select_device
from epsam.core.errors import TrainingError, WeightsError
from epsam.mil.encoders import SwinEncoder, VggEncoder, load_pretrained
from epsam.mil.loss import bag_loss
from epsam.weak.registry import build_weak_model, load_weak_model, save_weak_model

METHODS = ("dws_mil", "sa_mil", "swin_mil")
CPU = select_device("cpu", "fp32")


def build(name, **options):
    return build_weak_model(ClassifierOptions(weak_model=name, pretrained="none", **options))


@pytest.fixture(scope="module", params=METHODS)
def method(request):
    return request.param


@pytest.fixture(scope="module")
def model(method):
    return build(method, input_size=32).eval()


def example_images():
    return torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(5))


def test_the_loss_is_the_cross_entropy_of_each_map_summed():
    maps = [torch.full((2, 1, 2, 2), value) for value in (0.5, 0.25)]
    losses = bag_loss(maps, torch.tensor([1.0, 0.0]), power=4)
    # Maps of one value are as probable as this value.
    expected = [-math.log(0.5) - math.log(0.25), -math.log(0.5) - math.log(0.75)]
    assert losses.tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_the_loss_and_its_gradient_are_finite_for_certain_maps(value, label):
    tumour_map = torch.full((1, 1, 2, 2), value, requires_grad=True)
    loss = bag_loss([tumour_map], torch.tensor([label]), power=4)
    loss.sum().backward()
    assert math.isfinite(loss.item())
    assert bool(torch.isfinite(tumour_map.grad).all())


def test_maps_are_in_the_inputs_size_and_the_logit_is_that_of_the_fused_map(model):
    images = example_images()
    with torch.no_grad():
        fused, *sides = model.maps(images)
        prediction = model.predict(images)
        logits = model(images)
        losses = model.loss(images, torch.tensor([1.0, 0.0]))
    assert [tuple(side.shape) for side in sides] == [(2, 1, 32, 32)] * 3
    weights = torch.tensor(model.spec.weights)
    assert weights.sum().item() == pytest.approx(1)
    torch.testing.assert_close(
        fused[:, 0], torch.einsum("s,sbhw->bhw", weights, torch.cat(sides, 1).transpose(0, 1))
    )
    assert torch.equal(prediction.maps, fused)
    assert torch.equal(prediction.logits[:, 0], logits)
    probabilities = (fused.pow(4).mean(dim=(1, 2, 3)) + 1e-6).pow(1 / 4)
    torch.testing.assert_close(logits.sigmoid(), probabilities)
    assert losses.shape == (2,)


@pytest.mark.parametrize(
    ("encoder", "shapes"),
    [
        (VggEncoder(has_attention=False), [(64, 32), (128, 16), (256, 8)]),
        (VggEncoder(has_attention=True), [(64, 32), (128, 16), (256, 8)]),
        (SwinEncoder(), [(96, 16), (192, 8), (384, 4)]),
    ],
)
def test_stages_have_their_channels_and_strides(encoder, shapes):
    with torch.no_grad():
        features = encoder.eval()(torch.rand(1, 3, 64, 64))
    assert [tuple(stage.shape[1:]) for stage in features] == [(c, s, s) for c, s in shapes]
    assert encoder.channels == tuple(channels for channels, _ in shapes)


def test_weights_depend_on_the_seed_alone_and_torchs_state_stays(method):
    before = torch.random.get_rng_state()
    first, again, other = build(method), build(method), build(method, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    key = "side_outputs.heads.0.weight"
    assert torch.equal(first.state_dict()[key], again.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])


def test_a_checkpoint_gives_the_same_maps(method, model, tmp_path):
    model.set_normalisation(np.array([0.5, 0.4, 0.3]), np.array([0.1, 0.2, 0.3]))
    save_weak_model(tmp_path / "mil.pth", method, model, {"patch_size": 48})
    loaded = load_weak_model(tmp_path / "mil.pth", CPU)
    images = example_images()
    with torch.no_grad():
        assert torch.equal(loaded.predict(images).maps, model.predict(images).maps)
    assert loaded.spec == model.spec


def test_a_checkpoint_without_its_description_is_refused(method, model, tmp_path):
    torch.save({"weak_model": method, "model": model.state_dict()}, tmp_path / "mil.pth")
    with pytest.raises(WeightsError, match="describes no network of this project.*train it again"):
        load_weak_model(tmp_path / "mil.pth", CPU)


def test_inputs_are_normalised_by_the_colours_of_the_patches():
    model = build("dws_mil").eval()
    images = example_images()
    with torch.no_grad():
        model.set_normalisation(np.zeros(3), np.ones(3))
        expected = model((images - 0.5) / 0.25)
        model.set_normalisation(np.full(3, 0.5), np.full(3, 0.25))
        torch.testing.assert_close(model(images), expected)


def test_a_second_head_is_refused(method):
    with pytest.raises(TrainingError, match=f"--subclasses 8: {method} has no second head; leave"):
        build(method, subclasses=8)


def test_side_outputs_learn_at_a_rate_of_their_own(model):
    encoder, sides = model.parameter_groups(1e-2, 0.01)
    assert (encoder["lr"], sides["lr"]) == (1e-2, pytest.approx(1e-4))
    assert len(sides["params"]) == 6
    grouped = {id(parameter) for group in (encoder, sides) for parameter in group["params"]}
    assert grouped == {id(parameter) for parameter in model.parameters()}


@pytest.mark.parametrize(
    ("encoder", "builder"),
    [(VggEncoder(has_attention=True), models.vgg16), (SwinEncoder(), models.swin_t)],
)
def test_the_encoder_starts_from_torchvisions_weights(encoder, builder, tmp_path):
    with torch.device("meta"):
        state = builder(weights=None).state_dict()
    file = {}
    for key, tensor in state.items():
        # The classifier at the end is most of the file, and plays no part.
        if key.startswith("features."):
            file[key] = torch.full(tensor.shape, 0.25).to(tensor.dtype)
    torch.save(file, tmp_path / "weights.pth")
    load_pretrained(encoder, str(tmp_path / "weights.pth"), tmp_path)
    for key, tensor in encoder.features.state_dict().items():
        assert torch.equal(tensor, file[f"features.{key}"]), key

    del file["features.0.bias" if builder is models.vgg16 else "features.0.0.bias"]
    torch.save(file, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=f"do not fit {encoder.backbone}: 1 missing"):
        load_pretrained(encoder, str(tmp_path / "weights.pth"), tmp_path)
