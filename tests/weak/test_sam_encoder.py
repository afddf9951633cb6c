"""SAM's encoder with adapters: shapes, frames, what is trained, checkpoints; random weights."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from epsam.config.classifier import ClassifierOptions
from epsam.core.device import DeviceConfig
from epsam.core.errors import TrainingError, WeightsError
from epsam.segment.sam.models import build_sam
from epsam.segment.sam.specs import SPECS
from epsam.weak.registry import build_weak_model, load_weak_model, save_weak_model
from epsam.weak.sam_encoder import SamEncoderClassifier, SamEncoderSpec
from support.mini import smaller_sam, write_random_sam

CPU = DeviceConfig(torch.device("cpu"), None)


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    path = tmp_path_factory.mktemp("sam") / "sam.pth"
    with smaller_sam():
        write_random_sam(path)
        yield ClassifierOptions(
            weak_model="sam_encoder",
            map_sam="vit_demo",
            map_sam_checkpoint=str(path),
            input_size=64,
            subclasses=3,
        )


def classifier(sam, input_px):
    torch.manual_seed(0)
    return SamEncoderClassifier(SamEncoderSpec(sam, input_px), build_sam(sam).image_encoder).eval()


def example_images(side=64, count=2):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("input_px", "stride", "grid"), [(1024, 16, 64), (256, 8, 32)])
def test_vit_b_has_sams_frame_at_1024_px_and_that_of_samus_at_256(input_px, stride, grid):
    spec = SamEncoderSpec("vit_b", input_px)
    assert (spec.stride, spec.grid) == (stride, grid)
    # The meta device has shapes, and computes nothing.
    with torch.device("meta"):
        model = SamEncoderClassifier(spec, build_sam("vit_b").image_encoder)
        model.add_subclass_head(8, 0.5, 0)
        features = model.features(torch.empty(1, 3, 512, 512))
    assert features.shape == (1, grid, grid, 768)
    assert model.fc.weight.shape == (1, 768)
    assert model.subclass_head.weight.shape == (9, 768)


def test_at_sams_own_size_the_tokens_are_sams(monkeypatch):
    monkeypatch.setitem(SPECS, "vit_b", replace(SPECS["vit_b"], depth=2, global_blocks=(1,)))
    model = classifier("vit_b", 1024)
    images = example_images(1024, 1)
    with torch.no_grad():
        expected = model.encoder.patch_embed((images - model.mean) / model.std)
        torch.testing.assert_close(model.embed(images), expected, atol=1e-4, rtol=1e-4)
        assert torch.equal(model.positions(), model.encoder.pos_embed)


def test_untrained_adapters_leave_sams_features_as_they_are(options):
    model = build_weak_model(options).eval()
    images = example_images()
    with torch.no_grad():
        tokens = model.embed(images) + model.positions()
        for block in model.encoder.blocks:
            tokens = block(tokens)
        torch.testing.assert_close(model.features(images), model.norm(tokens))


def test_overlapping_tokens_lie_over_their_part_of_the_image_and_positions_are_averaged(
    monkeypatch,
):
    monkeypatch.setitem(SPECS, "vit_b", replace(SPECS["vit_b"], depth=1, global_blocks=(0,)))
    model = classifier("vit_b", 256)
    images = torch.zeros(1, 3, 256, 256)
    spotted = images.clone()
    # Token 12 has its centre at 12.5 · 8 = 100 and covers 92 to 107; token 13 begins at 100.
    # Across, token 3 covers 20 to 35, and token 4 begins at 28.
    spotted[..., 100, 28] = 1
    with torch.no_grad():
        changed = (model.embed(spotted) - model.embed(images)).abs().sum(dim=-1)[0] > 1e-6
        rows, columns = torch.nonzero(changed, as_tuple=True)
        positions = F.avg_pool2d(model.encoder.pos_embed.permute(0, 3, 1, 2), 2)
    assert changed[12, 3]
    assert set(rows.tolist()) == {12, 13}
    assert set(columns.tolist()) == {3, 4}
    torch.testing.assert_close(model.positions(), positions.permute(0, 2, 3, 1))


def test_last_blocks_adapters_heads_and_relative_positions_of_global_blocks_are_trained(options):
    """`vit_demo` here has two blocks, the second a global one: one is trained."""
    model = build_weak_model(options)
    model.loss(example_images(), torch.tensor([1.0, 0.0]), torch.tensor([2, 0])).mean().backward()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name, p in model.named_parameters() if p.grad is not None} == trained
    for name, _ in model.named_parameters():
        in_encoder = name.startswith("encoder.") and not name.startswith("encoder.blocks.1.")
        assert (name in trained) == (not in_encoder), name
    # Zero at the start, adapters still learn.
    assert float(model.adapters[0].up.weight.grad.abs().sum()) > 0


def test_of_twelve_blocks_the_last_four_are_trained_and_relative_positions_of_the_global_ones():
    with torch.device("meta"):
        model = SamEncoderClassifier(SamEncoderSpec("vit_b", 256), build_sam("vit_b").image_encoder)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    blocks = {int(name.split(".")[2]) for name in trained if name.endswith("mlp.lin1.weight")}
    assert blocks == {8, 9, 10, 11}
    positions = {int(name.split(".")[2]) for name in trained if name.endswith("rel_pos_h")}
    assert positions == {2, 5, 8, 9, 10, 11}
    assert "encoder.pos_embed" not in trained
    assert "encoder.patch_embed.proj.weight" not in trained


def test_the_map_is_the_logit_of_each_token_above_the_lowest(options):
    model = build_weak_model(options).eval()
    images = example_images()
    with torch.no_grad():
        prediction = model.predict(images)
        assert prediction.maps.shape == (2, 1, model.spec.grid, model.spec.grid)
        tokens = model.token_logits(model.features(images))
        torch.testing.assert_close(prediction.logits[:, 0], tokens.mean(dim=(1, 2)))
        torch.testing.assert_close(model(images), prediction.logits[:, 0])
        torch.testing.assert_close(
            prediction.maps[:, 0] - prediction.maps.amin(),
            tokens - tokens.amin(dim=(1, 2))[:, None, None],
        )
    assert float(prediction.maps.min()) == 0


def test_a_checkpoint_is_read_without_sams_file_and_holds_no_second_head(options, tmp_path):
    model = build_weak_model(options).eval()
    torch.nn.init.normal_(model.adapters[0].up.weight, generator=torch.Generator().manual_seed(3))
    save_weak_model(tmp_path / "c.pth", "sam_encoder", model, {"patch_size": 64})
    loaded = load_weak_model(tmp_path / "c.pth", CPU)
    assert loaded.subclass_head is None
    with torch.no_grad():
        assert torch.equal(loaded(example_images()), model(example_images()))
    content = torch.load(tmp_path / "c.pth")
    content["spec"]["sam"] = "vit_x"
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="other.pth: describes no SAM encoder of this project"):
        load_weak_model(tmp_path / "other.pth", CPU)


def test_the_same_seed_builds_the_same_network(options):
    first, second = build_weak_model(options).state_dict(), build_weak_model(options).state_dict()
    other = build_weak_model(replace(options, seed=1)).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["fc.weight"], other["fc.weight"])


def test_an_input_of_no_whole_tokens_is_one_line(options):
    with pytest.raises(TrainingError, match="--input_size 66: no multiple of 4, the px from token"):
        build_weak_model(replace(options, input_size=66))
