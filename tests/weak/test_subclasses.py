"""Clusters, second head and loss of sub-class exploration."""

import math

import numpy as np
import pytest
import torch

from epsam.config.classifier import ClassifierOptions
from epsam.core.device import DeviceConfig
from epsam.core.errors import TrainingError
from epsam.data.images import write_rgb
from epsam.data.patches import Patch
from epsam.training.subclasses import find_subclasses, write_subclasses
from epsam.weak.registry import build_weak_model, load_weak_model, save_weak_model
from epsam.weak.subclasses import build_subclass_head, cluster, subclass_loss

CPU = DeviceConfig(torch.device("cpu"), None)
SMALL = ClassifierOptions(
    backbone="resnet18", pretrained="none", subclasses=2, batch_size=3, workers=0
)


def example_features():
    """Names and features of two clear clusters: a0, a2, a4 … near 0, a1, a3 … near 10."""
    rng = np.random.default_rng(0)
    names = [f"a{number}" for number in range(8)]
    offsets = np.array([0.0, 10.0] * 4)[:, None]
    return names, (rng.normal(0, 0.1, (8, 3)) + offsets).astype(np.float32)


def test_clusters_are_those_of_the_features_numbered_by_their_first_name():
    assert cluster(*example_features(), 2, seed=1) == {
        "a0": 1, "a1": 2, "a2": 1, "a3": 2, "a4": 1, "a5": 2, "a6": 1, "a7": 2,
    }  # fmt: skip


def test_the_table_does_not_depend_on_the_order_of_files(tmp_path):
    rng = np.random.default_rng(1)
    patches = []
    for number in range(7):
        path = tmp_path / f"p{number}_1.png"
        write_rgb(path, rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
        patches.append(Patch(path.stem, 1, path, None))
    patches.append(Patch("n_0", 0, tmp_path / "missing.png", None))

    tables = []
    for order in (patches, patches[::-1], patches[3:] + patches[:3]):
        model = build_weak_model(SMALL)
        subclasses = find_subclasses(model, order, 32, SMALL, CPU)
        write_subclasses(tmp_path / "subclasses.csv", subclasses)
        tables.append((tmp_path / "subclasses.csv").read_bytes())
    assert tables[0] == tables[1] == tables[2]
    lines = tables[0].decode().split()
    assert lines[:2] == ["id,subclass", "p0_1,1"]
    assert len(lines) == 8
    assert {line.split(",")[1] for line in lines[1:]} == {"1", "2"}
    # A run that is trained again without sub-classes has no table.
    write_subclasses(tmp_path / "subclasses.csv", {})
    assert not (tmp_path / "subclasses.csv").exists()


def test_fewer_positives_than_subclasses_and_a_model_without_a_head_are_one_line(tmp_path):
    options = ClassifierOptions(backbone="resnet18", pretrained="none", subclasses=8)
    patches = [Patch(f"p{number}", 1, tmp_path / "missing.png", None) for number in range(7)]
    with pytest.raises(TrainingError, match="--subclasses 8: only 7 training patches with tumour"):
        find_subclasses(build_weak_model(options), patches, 32, options, CPU)
    with pytest.raises(TrainingError, match="--subclasses 8: Linear has no head for sub-classes"):
        find_subclasses(torch.nn.Linear(1, 1), patches, 32, options, CPU)
    assert find_subclasses(None, patches, 32, ClassifierOptions(), CPU) == {}


def test_targets_are_one_hot_and_the_loss_is_the_mean_over_all_outputs():
    logits = torch.tensor([[0.0, 2.0, -1.0], [1.0, 0.0, 0.0]])

    def cross_entropy(logit, target):
        probability = 1 / (1 + math.exp(-logit))
        return -math.log(probability if target else 1 - probability)

    expected = [
        (cross_entropy(0, 0) + cross_entropy(2, 0) + cross_entropy(-1, 1)) / 3,
        (cross_entropy(1, 1) + cross_entropy(0, 0) + cross_entropy(0, 0)) / 3,
    ]
    assert subclass_loss(logits, torch.tensor([2, 0])).tolist() == pytest.approx(expected)


def test_the_loss_is_that_of_both_heads_by_hand():
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels, subclasses = torch.tensor([1.0, 0.0]), torch.tensor([2, 0])
    model = build_weak_model(SMALL).eval()
    pooled = model.pooled_features(images)
    torch.testing.assert_close(model.fc(pooled)[:, 0], model(images))
    second = subclass_loss(model.subclass_head(pooled), subclasses)
    expected = model.loss(images, labels) + 0.5 * second
    torch.testing.assert_close(model.loss(images, labels, subclasses), expected)
    model.loss(images, labels, subclasses).mean().backward()
    assert float(model.subclass_head.weight.grad.abs().sum()) > 0
    assert float(model.conv1.weight.grad.abs().sum()) > 0


def test_the_head_has_k_plus_1_outputs_depends_on_the_seed_and_leaves_the_rest_as_it_was():
    assert build_subclass_head(5, 8, 1).weight.shape == (9, 5)
    assert torch.equal(build_subclass_head(5, 8, 1).weight, build_subclass_head(5, 8, 1).weight)
    assert not torch.equal(build_subclass_head(5, 8, 1).weight, build_subclass_head(5, 8, 2).weight)
    plain = build_weak_model(ClassifierOptions(backbone="resnet18", pretrained="none"))
    state = build_weak_model(SMALL).state_dict()
    for key, tensor in plain.state_dict().items():
        assert torch.equal(state[key], tensor)


def test_a_checkpoint_holds_the_first_head_alone_and_is_read_as_any_other(tmp_path):
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model = build_weak_model(SMALL).eval()
    save_weak_model(tmp_path / "c.pth", "adl_resnet", model, {})
    state = torch.load(tmp_path / "c.pth")["model"]
    assert not [key for key in state if "subclass" in key]
    loaded = load_weak_model(tmp_path / "c.pth", CPU)
    torch.testing.assert_close(loaded(images), model(images), atol=1e-4, rtol=1e-4)
