"""Initial weights, checkpoints of this project and of the published code, and broken files."""

import pickle
import urllib.error
import urllib.request

import pytest
import torch
from torch import nn
from torchvision import models

from epsam.core.errors import WeightsError
from epsam.weak import imagenet
from epsam.weak.resnet import NetworkSpec, build_classifier
from epsam.weak.weights import initialise_weights, load_classifier, save_classifier

SMALL = NetworkSpec("resnet18")


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def small(spec=SMALL, seed=0):
    torch.manual_seed(seed)
    return build_classifier(spec).eval()


def check_refused(action, *words):
    with pytest.raises(WeightsError) as raised:
        action()
    message = str(raised.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message, f"{word!r} is not in {message!r}"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of this project and its model; tests do not change either."""
    path = tmp_path_factory.mktemp("classifier") / "resnet_adl.pth"
    spec = NetworkSpec("resnet18", 0.1, "ratio", ("3.0", "4.1"), 0.5, 0.9, True, 64)
    model = small(spec)
    save_classifier(path, model, {"epoch": 3, "options": {"lr": 1e-5}})
    return path, model


# Checkpoints of this project
# ------------------------------------------------------------------------------------------


def test_checkpoint_brings_back_the_network_and_what_was_saved_with_it(checkpoint):
    path, model = checkpoint
    loaded = load_classifier(path, "cpu")
    assert loaded.spec == model.spec
    assert not loaded.training
    images = noise(2, 3, 64, 64)
    with torch.no_grad():
        # The loaded model convolves in another memory order.
        assert torch.allclose(loaded(images), model(images), atol=1e-5)
    content = torch.load(path, weights_only=True)
    assert (content["epoch"], content["options"]) == (3, {"lr": 1e-5})


def test_broken_off_saving_leaves_the_old_checkpoint(checkpoint, tmp_path, monkeypatch):
    target = tmp_path / "resnet_adl.pth"
    target.write_bytes(b"old")

    def break_off(content, path):
        path.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", break_off)
    with pytest.raises(OSError, match="disk full"):
        save_classifier(target, checkpoint[1], {})
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


# Checkpoints of the published code
# ------------------------------------------------------------------------------------------


def published_state(trunk):
    """torchvision's state with the block indices of the published network: ADL after 3.0, 4.0 and
    4.2.
    """
    indices = {"layer3": (0, 2, 3, 4, 5, 6), "layer4": (0, 2, 3)}
    renamed = {}
    for key, tensor in trunk.state_dict().items():
        layer, _, rest = key.partition(".")
        if layer in indices:
            block, _, rest = rest.partition(".")
            key = f"{layer}.{indices[layer][int(block)]}.{rest}"
        renamed[key] = tensor
    return renamed


def published_trunk():
    """The published network assembled from torchvision alone."""
    torch.manual_seed(3)
    trunk = models.resnet50(weights=None, num_classes=1)
    trunk.conv1 = nn.Conv2d(4, 64, 7, stride=2, padding=3, bias=False)
    trunk.layer4[0].conv2.stride = (1, 1)
    trunk.layer4[0].downsample[0].stride = (1, 1)
    return trunk.eval()


def published_input(images):
    """RGB in [0, 1] and, as fourth channel, what is left without rows and columns c-1, c of the
    shifted spectrum.
    """
    spectrum = torch.fft.fftshift(torch.fft.fft2(images), dim=(-2, -1))
    row, column = images.shape[-2] // 2, images.shape[-1] // 2
    spectrum[..., row - 1 : row + 1, column - 1 : column + 1] = 0
    remainder = (
        torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1)))
        .real.abs()
        .mean(dim=1, keepdim=True)
    )
    return torch.cat([images, remainder], dim=1)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {
            "state_dict": {f"module.{key}": tensor for key, tensor in state.items()},
            "epoch": 7,
        },
    ],
)
def test_published_checkpoint_loads_with_the_published_setting(tmp_path, wrap):
    trunk = published_trunk()
    path = tmp_path / "published.pth"
    torch.save(wrap(published_state(trunk)), path)
    model = load_classifier(path, "cpu")
    # The ADL after the last block leaves no gap; in evaluation it is the identity.
    assert model.spec == NetworkSpec(
        "resnet50", evp_block="center2x2", adl_positions=("3.0", "4.0"), normalise=False
    )
    images = noise(2, 3, 64, 64)
    with torch.no_grad():
        logits, features = model.forward_features(images)
        torch.testing.assert_close(
            logits, trunk(published_input(images))[:, 0], atol=1e-5, rtol=1e-4
        )
    assert features.shape == (2, 2048, 4, 4)


def test_bare_state_of_a_small_network_is_recognised(tmp_path):
    torch.save(
        small(NetworkSpec("resnet18", adl_positions=("1.0", "3.0"))).state_dict(),
        tmp_path / "bare.pth",
    )
    spec = load_classifier(tmp_path / "bare.pth", "cpu").spec
    assert (spec.backbone, spec.adl_positions, spec.normalise) == (
        "resnet18",
        ("1.0", "3.0"),
        False,
    )


# Weights that do not fit
# --------------------------------------------------------------------------------------------------


def save_changed(tmp_path, change):
    """A file with the small network's state after `change(state)`."""
    state = small().state_dict()
    change(state)
    torch.save(state, tmp_path / "bad.pth")
    return tmp_path / "bad.pth"


def test_missing_keys_are_counted_and_the_first_is_named(tmp_path):
    path = save_changed(tmp_path, lambda state: (state.pop("bn1.weight"), state.pop("fc.bias")))
    check_refused(lambda: load_classifier(path, "cpu"), path, "2 missing (first bn1.weight)")


def test_unexpected_keys_are_counted_and_the_first_is_named(tmp_path):
    path = save_changed(tmp_path, lambda state: state.update({"extra.bias": torch.zeros(1)}))
    check_refused(lambda: load_classifier(path, "cpu"), "1 unexpected (first extra.bias)")


def test_shapes_are_compared(tmp_path):
    path = save_changed(
        tmp_path,
        lambda state: state.update({"fc.weight": torch.zeros(2, 512), "fc.bias": torch.zeros(2)}),
    )
    check_refused(lambda: load_classifier(path, "cpu"), "2 of another shape (first fc.weight)")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    path = save_changed(tmp_path, lambda state: state["layer2.0.bn1.weight"].fill_(value))
    check_refused(lambda: load_classifier(path, "cpu"), "1 not finite (first layer2.0.bn1.weight)")


def test_counters_of_batches_may_be_missing_as_in_old_files(tmp_path):
    def drop(state):
        for key in [k for k in state if k.endswith("num_batches_tracked")]:
            del state[key]

    load_classifier(save_changed(tmp_path, drop), "cpu")


def test_unknown_network_is_refused(tmp_path):
    for number, spec in enumerate(({"backbone": "vgg16"}, {"colour": "red"}, 7)):
        path = tmp_path / f"{number}.pth"
        torch.save({"model": {"fc.weight": torch.zeros(1)}, "spec": spec}, path)
        check_refused(lambda path=path: load_classifier(path, "cpu"), path)


class Harmful:
    """Unpickling it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_in_a_file_is_refused_and_not_run(tmp_path):
    torch.save({"model": Harmful(tmp_path / "ran")}, tmp_path / "harmful.pth")
    check_refused(lambda: load_classifier(tmp_path / "harmful.pth", "cpu"), "harmful.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Harmful(tmp_path / "ran"), protocol=2))
    check_refused(lambda: load_classifier(tmp_path / "plain.pth", "cpu"), "plain.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 64, b"<html>404</html>", bytes(range(256)), b"PK\x03\x04broken"]
)
def test_files_that_are_no_checkpoint_are_one_clear_line(tmp_path, content):
    (tmp_path / "bad.pth").write_bytes(content)
    check_refused(lambda: load_classifier(tmp_path / "bad.pth", "cpu"), "bad.pth")


def test_cut_off_checkpoint_missing_file_and_folder_are_one_clear_line(checkpoint, tmp_path):
    (tmp_path / "cut.pth").write_bytes(checkpoint[0].read_bytes()[:100_000])
    check_refused(lambda: load_classifier(tmp_path / "cut.pth", "cpu"), "cut.pth")
    check_refused(lambda: load_classifier(tmp_path / "none.pth", "cpu"), "none.pth", "no such file")
    check_refused(lambda: load_classifier(tmp_path, "cpu"), tmp_path)


@pytest.mark.parametrize(
    "content", [torch.zeros(3), [1, 2], {}, {"model": {"epoch": 3}}, {"model": 5}]
)
def test_files_without_named_tensors_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    check_refused(lambda: load_classifier(tmp_path / "other.pth", "cpu"), "other.pth")


# The weights that training starts from
# ------------------------------------------------------------------------------------------


def test_none_gives_xavier_convolutions_plain_batch_norm_and_a_small_head(tmp_path):
    model = small()
    with torch.no_grad():
        model.bn1.weight.fill_(9.0)
        model.bn1.running_mean.fill_(9.0)
    initialise_weights(model, "none", 5, tmp_path)
    # Xavier-uniform bound of conv1: sqrt(6 / ((4 + 64) · 49)).
    bound = (6 / (68 * 49)) ** 0.5
    assert 0.99 * bound < model.conv1.weight.abs().max() <= bound
    assert torch.equal(model.bn1.weight, torch.ones(64))
    assert torch.equal(model.bn1.running_mean, torch.zeros(64))
    assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.15)
    assert torch.equal(model.fc.bias, torch.zeros(1))


def test_random_start_depends_on_the_seed_alone(tmp_path):
    first, again, other = small(seed=1), small(seed=2), small(seed=1)
    initialise_weights(first, "none", 5, tmp_path)
    initialise_weights(again, "none", 5, tmp_path)
    initialise_weights(other, "none", 6, tmp_path)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)
    )
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
    assert not torch.equal(first.fc.weight, other.fc.weight)


def imagenet_like():
    torch.manual_seed(4)
    return models.resnet18(weights=None)  # 3 channels, 1000 classes, no gaps


def check_start(model, trunk):
    """The trunk's weights at the model's indices, a fourth channel that is the mean of three, a
    small random head.
    """
    theirs = trunk.state_dict()
    assert torch.equal(model.conv1.weight[:, :3], theirs["conv1.weight"])
    torch.testing.assert_close(model.conv1.weight[:, 3], theirs["conv1.weight"].mean(dim=1))
    assert torch.equal(model.layer3[0].conv1.weight, theirs["layer3.0.conv1.weight"])
    assert torch.equal(model.layer3[2].conv1.weight, theirs["layer3.1.conv1.weight"])
    assert torch.equal(model.layer4[2].bn2.running_var, theirs["layer4.1.bn2.running_var"])
    assert model.fc.weight.shape == (1, 512)
    assert model.fc.weight.abs().max() < 0.06  # 512 draws of N(0, 0.01)


def test_torchvision_file_is_renumbered_around_the_adl_and_gets_a_fourth_channel(tmp_path):
    trunk = imagenet_like()
    torch.save(trunk.state_dict(), tmp_path / "torchvision.pth")
    model = small()
    initialise_weights(model, str(tmp_path / "torchvision.pth"), 5, tmp_path / "nowhere")
    check_start(model, trunk)


@pytest.mark.parametrize("where", ["checkpoints of the user", "torch hub"])
def test_imagenet_file_is_found_in_either_folder_without_a_download(tmp_path, monkeypatch, where):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(imagenet, "download", lambda *a, **k: pytest.fail("downloaded"))
    folder = (
        tmp_path / "checkpoints"
        if where == "checkpoints of the user"
        else tmp_path / "hub" / "checkpoints"
    )
    folder.mkdir(parents=True)
    trunk = imagenet_like()
    torch.save(trunk.state_dict(), folder / "resnet18-f37072fd.pth")
    model = small()
    initialise_weights(model, "imagenet", 5, tmp_path / "checkpoints")
    check_start(model, trunk)


def test_imagenet_file_is_downloaded_once_and_checked_by_its_name(tmp_path, monkeypatch):
    trunk, calls = imagenet_like(), []

    def fetch(url, sha256, target, hint):
        calls.append((url, sha256))
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.save(trunk.state_dict(), target)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(imagenet, "download", fetch)
    for _ in range(2):
        model = small()
        initialise_weights(model, "imagenet", 5, tmp_path / "checkpoints")
        check_start(model, trunk)
    assert calls == [("https://download.pytorch.org/models/resnet18-f37072fd.pth", "f37072fd")]


def test_offline_error_states_address_path_and_the_flag_to_do_without(tmp_path, monkeypatch):
    def fail(url, timeout):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(urllib.request, "urlopen", fail)
    check_refused(
        lambda: initialise_weights(small(), "imagenet", 5, tmp_path / "checkpoints"),
        "https://download.pytorch.org/models/resnet18-f37072fd.pth",
        tmp_path / "checkpoints" / "resnet18-f37072fd.pth",
        "--pretrained none",
    )


def test_a_checkpoint_with_other_adl_positions_is_taken_with_its_head(checkpoint, tmp_path):
    path, source = checkpoint
    model = small(seed=9)
    initialise_weights(model, str(path), 5, tmp_path)
    assert torch.equal(model.conv1.weight, source.conv1.weight)
    assert torch.equal(model.layer4[2].conv1.weight, source.layer4[1].conv1.weight)
    assert torch.equal(model.fc.weight, source.fc.weight)


def test_start_from_another_network_is_refused(tmp_path):
    torch.manual_seed(0)
    torch.save(models.resnet34(weights=None).state_dict(), tmp_path / "resnet34.pth")
    check_refused(
        lambda: initialise_weights(small(), str(tmp_path / "resnet34.pth"), 5, tmp_path),
        "unexpected",
        "resnet18",
    )
    check_refused(
        lambda: initialise_weights(small(), str(tmp_path / "nothing.pth"), 5, tmp_path),
        "no such file",
    )


# Networks of three channels
# -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fuse", ["add", "none"])
def test_a_network_of_three_channels_comes_back_and_takes_torchvisions_kernels_as_they_are(
    tmp_path, fuse
):
    spec = NetworkSpec("resnet18", adl_positions=(), evp_fuse=fuse, cam="gradcam")
    model = small(spec)
    save_classifier(tmp_path / "plain.pth", model, {})
    assert load_classifier(tmp_path / "plain.pth", "cpu").spec == spec
    start = models.resnet18(weights=None)
    torch.save(start.state_dict(), tmp_path / "start.pth")
    initialise_weights(model, str(tmp_path / "start.pth"), 1, tmp_path)
    assert torch.equal(model.conv1.weight, start.conv1.weight)
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    bare = load_classifier(tmp_path / "bare.pth", "cpu").spec
    assert (bare.evp_fuse, bare.adl_positions) == ("none", ())
