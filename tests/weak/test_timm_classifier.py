"""Any encoder of timm under the plain CAM methods, with weights from a file and nothing fetched."""

import pytest
import torch
from safetensors.torch import save_file

from epsam.cam.rotation import rotation_averaged_cam
from epsam.config.classifier import ClassifierOptions
from epsam.config.command_line import parse
from epsam.core.device import select_device
from epsam.core.errors import TrainingError, WeightsError
from epsam.weak.registry import build_weak_model, load_weak_model, save_weak_model

CPU = select_device("cpu", "fp32")
# The smallest of each kind: maps (B, C, h, w), tokens with a class token, and maps (B, h, w, C).
CNN = "timm:test_efficientnet"
VIT = "timm:test_vit"
SWIN = "timm:swin_tiny_patch4_window7_224,embed_dim=24,depths=(1,1),num_heads=(1,1),img_size=64"


def build(backbone, cam="gradcam", pretrained="none", seed=1):
    options = ClassifierOptions(backbone=backbone, cam=cam, pretrained=pretrained, seed=seed)
    return build_weak_model(options).eval()


@pytest.mark.parametrize(("backbone", "stride"), [(CNN, 32), (VIT, 16), (SWIN, 8)])
def test_features_of_any_encoder_are_a_map_and_their_mean_gives_the_logit(backbone, stride):
    model = build(backbone)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, features = model.forward_features(images)
    assert features.shape[2:] == (64 // stride, 64 // stride)
    by_hand = features.mean(dim=(2, 3)) @ model.fc.weight[0] + model.fc.bias
    torch.testing.assert_close(logits, by_hand.detach())


def test_tokens_stand_in_the_map_where_their_patches_stand_in_the_image():
    """Only the token of the changed patch changes before attention mixes them."""
    model = build(VIT)
    images = torch.zeros(1, 3, 64, 64)
    changed = images.clone()
    changed[..., 16:32, 48:] = 1
    model.encoder.blocks = torch.nn.Sequential()
    with torch.no_grad():
        difference = (model.features(changed) - model.features(images)).abs().sum(dim=1)[0]
    assert difference.nonzero().tolist() == [[1, 3]]


@pytest.mark.parametrize("cam", ["gradcam", "gradcam++", "eigencam"])
@pytest.mark.parametrize("backbone", [CNN, VIT])
def test_each_plain_method_makes_maps_of_it(cam, backbone):
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    probabilities, cams = rotation_averaged_cam(build(backbone, cam), images, 2, cam)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert torch.isfinite(cams).all()
    assert (cams >= 0).all()


def test_the_weights_of_a_file_are_taken_without_its_head_and_nothing_is_fetched(tmp_path):
    other = build(VIT, seed=2)
    state = {key: tensor.clone() for key, tensor in other.encoder.state_dict().items()}
    state["head.weight"] = torch.zeros(1000, 64)
    for name, save in (("a.safetensors", save_file), ("a.pth", torch.save)):
        save(state, tmp_path / name)
        model = build(VIT, pretrained=str(tmp_path / name))
        for key, tensor in model.encoder.state_dict().items():
            assert torch.equal(tensor, state[key])
        assert not torch.equal(model.fc.weight, other.fc.weight)


def test_random_weights_depend_on_the_seed_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = build(VIT), build(VIT), build(VIT, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.fc.weight, again.fc.weight)
    assert not torch.equal(first.fc.weight, other.fc.weight)


def test_a_checkpoint_gives_the_same_answers(tmp_path):
    model, path = build(VIT), tmp_path / "classifier.pth"
    save_weak_model(path, "adl_resnet", model, {"patch_size": 64})
    images = torch.rand(1, 3, 64, 64)
    loaded = load_weak_model(path, CPU)
    assert loaded.spec == model.spec
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "timm:vgg99"}, "has no such encoder"),
        ({"backbone": VIT, "cam": "enhanced_adl"}, "needs a ResNet; use --cam gradcam or"),
        ({"backbone": f"{VIT},depths"}, "'depths' are no arguments; write them as"),
        ({"backbone": f"{VIT},colour=3"}, "timm cannot build it"),
    ],
)
def test_an_encoder_that_cannot_be_is_refused_in_one_line(change, message):
    with pytest.raises(TrainingError, match=message) as raised:
        build_weak_model(ClassifierOptions(**{"cam": "gradcam", "pretrained": "none", **change}))
    assert "\n" not in str(raised.value)


def test_weights_that_are_missing_or_of_another_encoder_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="its weights are not fetched; give their file"):
        build(VIT, pretrained="imagenet")
    torch.save(build(CNN).encoder.state_dict(), tmp_path / "cnn.pth")
    with pytest.raises(WeightsError, match=r"cnn.pth: tensors do not fit timm:test_vit"):
        build(VIT, pretrained=str(tmp_path / "cnn.pth"))
    (tmp_path / "x.safetensors").write_bytes(b"no tensors")
    with pytest.raises(WeightsError, match=r"x.safetensors: no whole file of tensors"):
        build(VIT, pretrained=str(tmp_path / "x.safetensors"))


def test_a_layer_other_than_the_last_is_refused():
    with pytest.raises(TrainingError, match="has its last block alone; leave --cam_layer out"):
        build(VIT).features(torch.zeros(1, 3, 64, 64), "4.0")


def test_the_flag_takes_a_resnet_or_an_encoder_of_timm(capsys):
    assert parse("t", ClassifierOptions, ["--backbone", VIT]).backbone == VIT
    for wrong in ("resnet99", "timm:"):
        with pytest.raises(SystemExit):
            parse("t", ClassifierOptions, ["--backbone", wrong])
        assert "choose from resnet50, resnet18, resnet38, timm:…" in capsys.readouterr().err
