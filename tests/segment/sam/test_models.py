import hashlib
import io
import urllib.error
import urllib.request
from email.message import Message

import pytest
import torch

from epsam.core.errors import WeightsError
from epsam.segment.sam.models import build_sam, freeze, load_sam, parameter_counts
from epsam.segment.sam.specs import SPECS, find_checkpoint

CONTENT = b"as good as weights"


@pytest.fixture(scope="module")
def demo_state():
    return build_sam("vit_demo").state_dict()


@pytest.fixture
def official(monkeypatch):
    """A vit_b whose file is CONTENT; the returned list names the addresses that were requested."""
    requested: list[str] = []

    def open_address(url, timeout):
        requested.append(url)
        answer = io.BytesIO(CONTENT)
        answer.headers = Message()
        answer.headers["Content-Length"] = str(len(CONTENT))
        return answer

    monkeypatch.setattr(urllib.request, "urlopen", open_address)
    right = SPECS["vit_b"].__class__(
        1, 1, 1, (), "sam_vit_b_01ec64.pth", hashlib.sha256(CONTENT).hexdigest()
    )
    monkeypatch.setitem(SPECS, "vit_b", right)
    return requested


def saved(path, content):
    torch.save(content, path)
    return path


def test_vit_b_has_the_shapes_of_the_published_weights():
    # Built without memory: only the shapes matter. Numbers by hand: 12 blocks, 64 × 64 tokens of
    # 768, 16 px patches.
    with torch.device("meta"):
        shapes = {
            key: tuple(tensor.shape) for key, tensor in build_sam("vit_b").state_dict().items()
        }
    assert shapes["image_encoder.patch_embed.proj.weight"] == (768, 3, 16, 16)
    assert shapes["image_encoder.pos_embed"] == (1, 64, 64, 768)
    assert shapes["image_encoder.blocks.0.attn.rel_pos_h"] == (2 * 14 - 1, 64)
    assert shapes["image_encoder.blocks.2.attn.rel_pos_h"] == (2 * 64 - 1, 64)
    assert sum(key.endswith("attn.qkv.weight") for key in shapes) == 12


def test_the_decoder_of_the_demo_has_the_shape_of_the_real_one(demo_state):
    with torch.device("meta"):
        real = build_sam("vit_b").state_dict()
    prefix = "mask_decoder."
    assert {k: v.shape for k, v in demo_state.items() if k.startswith(prefix)} == {
        k: v.shape for k, v in real.items() if k.startswith(prefix)
    }


def test_the_demos_encoder_is_small_and_gives_32_by_32_tokens():
    sam = build_sam("vit_demo")
    assert 2e6 < sum(p.numel() for p in sam.image_encoder.parameters()) < 3e6
    with torch.no_grad():
        assert sam.image_encoder(torch.zeros(1, 3, 256, 256)).shape == (1, 256, 32, 32)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("vit_b", "sam_vit_b_01ec64.pth"),
        ("vit_l", "sam_vit_l_0b3195.pth"),
        ("vit_h", "sam_vit_h_4b8939.pth"),
    ],
)
def test_real_weights_have_an_official_address(name, file):
    assert SPECS[name].url == f"https://dl.fbaipublicfiles.com/segment_anything/{file}"
    assert len(SPECS[name].sha256) == 64


def test_only_the_decoder_learns_after_freezing():
    sam = freeze(build_sam("vit_demo"))
    assert {key.split(".")[0] for key, p in sam.named_parameters() if p.requires_grad} == {
        "mask_decoder"
    }
    decoder = sum(p.numel() for p in sam.mask_decoder.parameters())
    assert parameter_counts(sam) == (decoder, sum(p.numel() for p in sam.parameters()) - decoder)


@pytest.mark.parametrize(
    "wrap", [lambda state: state, lambda state: {"model": state, "meta": {"seed": 1}}]
)
def test_half_precision_weights_load_as_float32(tmp_path, demo_state, wrap):
    half = {key: tensor.half() for key, tensor in demo_state.items()}
    loaded = load_sam("vit_demo", saved(tmp_path / "w.pth", wrap(half))).state_dict()
    assert all(tensor.dtype == torch.float32 for tensor in loaded.values())
    assert all(torch.equal(loaded[key], half[key].float()) for key in half)


def test_weights_that_do_not_fit_are_counted_and_the_first_is_named(tmp_path, demo_state):
    state = dict(demo_state)
    del state["mask_decoder.iou_token.weight"], state["mask_decoder.mask_tokens.weight"]
    state["adapter.weight"] = torch.zeros(1)
    state["image_encoder.pos_embed"] = torch.zeros(1, 16, 16, 160)
    with pytest.raises(WeightsError) as caught:
        load_sam("vit_demo", saved(tmp_path / "w.pth", state))
    message = str(caught.value)
    assert "\n" not in message
    assert "w.pth" in message
    for part in (
        "2 missing (first mask_decoder.iou_token.weight)",
        "1 unexpected (first adapter.weight)",
        "(first image_encoder.pos_embed)",
    ):
        assert part in message


def test_weights_with_nan_are_refused(tmp_path, demo_state):
    state = {**demo_state, "image_encoder.pos_embed": torch.full((1, 32, 32, 160), float("nan"))}
    with pytest.raises(WeightsError, match="image_encoder.pos_embed"):
        load_sam("vit_demo", saved(tmp_path / "w.pth", state))


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut off"])
def test_an_unreadable_file_is_named(tmp_path, content):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="w.pth"):
        load_sam("vit_demo", path)


def test_a_given_path_wins_and_must_be_there(tmp_path):
    mine = tmp_path / "mine.pth"
    with pytest.raises(WeightsError, match="mine.pth"):
        find_checkpoint("vit_b", str(mine), tmp_path)
    mine.write_bytes(b"x")
    assert find_checkpoint("vit_b", str(mine), tmp_path) == mine


def test_absent_weights_are_fetched_once(tmp_path, official):
    first = find_checkpoint("vit_b", "", tmp_path / "checkpoints")
    again = find_checkpoint("vit_b", "", tmp_path / "checkpoints")
    assert first == again == tmp_path / "checkpoints" / "sam_vit_b_01ec64.pth"
    assert first.read_bytes() == CONTENT
    assert official == ["https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth"]


def test_a_download_with_another_hash_is_not_kept(tmp_path, official, monkeypatch):
    spec = SPECS["vit_b"]
    monkeypatch.setitem(SPECS, "vit_b", spec.__class__(1, 1, 1, (), spec.file, "0" * 64))
    with pytest.raises(WeightsError, match="SHA-256"):
        find_checkpoint("vit_b", "", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_breaks_off_is_not_kept(tmp_path, official, monkeypatch):
    def cut_off(url, timeout):
        answer = io.BytesIO(CONTENT[:5])
        answer.headers = Message()
        answer.headers["Content-Length"] = str(len(CONTENT))
        return answer

    monkeypatch.setattr(urllib.request, "urlopen", cut_off)
    with pytest.raises(WeightsError, match="5 of 18 bytes"):
        find_checkpoint("vit_b", "", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_the_message_gives_address_and_target(tmp_path, monkeypatch):
    def refuse(url, timeout):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(WeightsError) as caught:
        find_checkpoint("vit_h", "", tmp_path)
    assert SPECS["vit_h"].url in str(caught.value)
    assert str(tmp_path / "sam_vit_h_4b8939.pth") in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_demos_weights_are_never_looked_for_in_the_network(tmp_path, official):
    with pytest.raises(WeightsError, match="pretrain_demo_sam"):
        find_checkpoint("vit_demo", "", tmp_path)
    assert official == []
