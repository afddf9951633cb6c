"""Weak models by name."""

import pytest
import torch

from epsam.config.classifier import ClassifierOptions
from epsam.core.checkpoints import load_plain, save_plain
from epsam.core.device import select_device
from epsam.core.errors import EpsamError
from epsam.weak.registry import build_weak_model, load_weak_model, save_weak_model

CPU = select_device("cpu", "fp32")


@pytest.fixture(scope="module")
def model():
    return build_weak_model(ClassifierOptions(backbone="resnet18", pretrained="none"))


def test_logits_and_maps_have_an_axis_of_classes(model):
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        prediction = model.eval().predict(images)
        assert torch.equal(prediction.logits[:, 0], model(images))
        assert torch.equal(prediction.maps[:, 0], model.cam(images))
    assert prediction.logits.shape == (2, 1)
    assert prediction.maps.shape == (2, 1, 4, 4)


def test_the_loss_has_a_value_for_each_image(model):
    assert model.loss(torch.rand(3, 3, 64, 64), torch.tensor([0.0, 1.0, 1.0])).shape == (3,)


def test_the_checkpoint_of_the_default_looks_as_ever(model, tmp_path):
    path = tmp_path / "resnet_adl.pth"
    save_weak_model(path, "adl_resnet", model, {"patch_size": 64})
    assert set(load_plain(path)) == {"model", "spec", "patch_size"}
    assert load_weak_model(path, CPU).spec == model.spec


def test_a_model_that_is_not_known_here_is_named(tmp_path):
    save_plain(tmp_path / "x.pth", {"weak_model": "of_tomorrow", "model": {}})
    with pytest.raises(
        EpsamError, match="--weak_model of_tomorrow: not known here; use adl_resnet"
    ):
        load_weak_model(tmp_path / "x.pth", CPU)
