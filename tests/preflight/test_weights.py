from dataclasses import replace

import pytest
import torch

from epsam.config.classifier import ClassifierOptions
from epsam.config.decoder import BoxDecoderOptions
from epsam.config.masks import MaskOptions
from epsam.config.sam import SamOptions
from epsam.config.segmenter import SegmenterOptions
from epsam.core.files import sha256_of, write_json
from epsam.paths import RunPaths
from epsam.preflight import weights
from epsam.preflight.finding import collect_findings
from epsam.preflight.weights import (
    check_classifier_start,
    check_medsam,
    check_resnet_checkpoint,
    check_sam,
    check_segmenter_start,
    find_loaded_sam,
)
from epsam.segment.sam.models import build_sam
from epsam.segment.sam.specs import SPECS
from support.findings import assert_single, listed


@pytest.fixture(scope="module")
def demo_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "sam.pth"
    torch.manual_seed(0)
    torch.save(build_sam("vit_demo").state_dict(), path)
    return path


def sam(path="", kind="vit_demo"):
    return SamOptions(sam_model_type=kind, sam_checkpoint=str(path))


def test_weights_that_fit_give_no_finding(tmp_path, demo_weights):
    assert listed(check_sam(sam(demo_weights), tmp_path)) == []


def test_vit_small_begins_with_the_file_of_vit_demo_and_refuses_half_a_branch(
    tmp_path, demo_weights
):
    assert listed(check_sam(sam(demo_weights, "vit_small"), tmp_path)) == []
    tensors = torch.load(demo_weights, weights_only=True)
    branch = [name for name in build_sam("vit_small").state_dict() if ".detail." in name]
    half = tmp_path / "half.pth"
    torch.save({**tensors, branch[0]: build_sam("vit_small").state_dict()[branch[0]]}, half)
    assert_single(
        collect_findings([lambda: check_sam(sam(half, "vit_small"), tmp_path)]),
        True,
        f"tensors do not fit vit_small: {len(branch) - 1} missing",
    )


def test_weights_of_another_network_stop_before_the_run(tmp_path, demo_weights):
    assert_single(
        collect_findings([lambda: check_sam(sam(demo_weights, "vit_b"), tmp_path)]),
        True,
        "tensors do not fit vit_b",
    )


def test_weights_that_the_run_has_loaded_before_are_not_loaded_again(tmp_path, demo_weights):
    run = RunPaths(tmp_path / "run")
    (run.root / "stages").mkdir(parents=True)
    assert find_loaded_sam(run, "vit_demo") == ""
    checksum = sha256_of(demo_weights)
    record = {
        "fingerprint": "0",
        "options": {"sam_model_type": "vit_demo"},
        "inputs": {"sam": checksum},
    }
    write_json(run.root / "stages" / "decoder_0.json", record)
    assert find_loaded_sam(run, "vit_demo") == checksum
    assert find_loaded_sam(run, "vit_b") == ""

    (tmp_path / "other.pth").write_bytes(b"no weights")
    options = sam(tmp_path / "other.pth")
    assert listed(check_sam(options, tmp_path, sha256_of(tmp_path / "other.pth"))) == []
    assert_single(
        collect_findings([lambda: check_sam(options, tmp_path, checksum)]), True, "other.pth"
    )


def test_missing_weights_stop(tmp_path):
    assert_single(check_sam(sam(tmp_path / "no.pth"), tmp_path), True, "no.pth: no such file")
    assert_single(check_sam(sam(), tmp_path), True, "comes with this repository")
    assert_single(
        check_resnet_checkpoint(MaskOptions(resnet_checkpoint="no.pth")),
        True,
        "no.pth: no such file",
    )


def test_medsams_weights_are_named_if_missing_and_looked_into_if_there(tmp_path, demo_weights):
    options = BoxDecoderOptions(segmenter="medsam_box", sam_model_type="vit_demo")
    missing = collect_findings([lambda: check_medsam(options, tmp_path)])
    assert_single(missing, True, "medsam_vit_b.pth: MedSAM's weights are missing; download")
    (tmp_path / "medsam_vit_b.pth").write_bytes(demo_weights.read_bytes())
    assert listed(check_medsam(options, tmp_path)) == []
    vit_b = replace(options, sam_model_type="vit_b")
    other = collect_findings([lambda: check_medsam(vit_b, tmp_path)])
    assert_single(other, True, "tensors do not fit vit_b")


def test_a_published_file_with_another_hash_stops(tmp_path):
    (tmp_path / SPECS["vit_b"].file).write_bytes(b"half a download")
    assert_single(
        check_sam(sam(kind="vit_b"), tmp_path), True, "its SHA-256 is not that of", "remove it"
    )


@pytest.mark.parametrize(
    ("reason", "stops_run", "words"),
    [
        ("", False, "will be downloaded from https://"),
        ("no network", True, "cannot be reached (no network)"),
    ],
)
def test_a_download_warns_online_and_stops_offline(tmp_path, monkeypatch, reason, stops_run, words):
    monkeypatch.setattr(weights, "unreachable", lambda _: reason)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert_single(check_sam(sam(kind="vit_b"), tmp_path), stops_run, words, "sam_vit_b_01ec64.pth")
    assert_single(
        check_classifier_start(ClassifierOptions(), tmp_path),
        stops_run,
        words,
        "resnet50-0676ba61.pth",
    )
    assert_single(
        check_segmenter_start(SegmenterOptions(encoder="resnet18"), tmp_path),
        stops_run,
        words,
        "resnet18-f37072fd.pth",
    )


@pytest.mark.parametrize(
    ("weak_model", "file"),
    [
        ("dws_mil", "vgg16-397923af.pth"),
        ("sa_mil", "vgg16-397923af.pth"),
        ("swin_mil", "swin_t-704ceda3.pth"),
    ],
)
def test_a_weak_model_needs_the_weights_of_its_own_backbone(
    tmp_path, monkeypatch, demo_weights, weak_model, file
):
    monkeypatch.setattr(weights, "unreachable", lambda _: "no network")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    options = ClassifierOptions(weak_model=weak_model)
    hint = "or use --pretrained none"
    assert_single(check_classifier_start(options, tmp_path), True, str(tmp_path / file), hint)
    (tmp_path / file).touch()
    assert listed(check_classifier_start(options, tmp_path)) == []

    options = ClassifierOptions(weak_model=weak_model, pretrained=str(demo_weights))
    findings = collect_findings([lambda: check_classifier_start(options, tmp_path)])
    assert_single(findings, True, f"do not fit {file.partition('-')[0]}")


def test_initial_weights_that_do_not_fit_stop(tmp_path, demo_weights):
    options = ClassifierOptions(backbone="resnet18", pretrained=str(demo_weights))
    assert_single(
        collect_findings([lambda: check_classifier_start(options, tmp_path)]),
        True,
        "do not fit resnet18",
    )
    options = SegmenterOptions(segmenter="unet", encoder="resnet18", pretrained=str(demo_weights))
    assert_single(
        collect_findings([lambda: check_segmenter_start(options, tmp_path)]),
        True,
        "do not fit resnet18",
    )
    assert listed(check_classifier_start(ClassifierOptions(pretrained="none"), tmp_path)) == []
