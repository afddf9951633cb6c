import importlib.util
import sys
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tifffile
import torch

from epsam.config.classifier import ClassifierOptions
from epsam.config.decoder import DecoderOptions
from epsam.config.masks import MaskOptions
from epsam.config.patches import PatchOptions
from epsam.config.sam import SamOptions
from epsam.core.errors import DatasetError
from epsam.core.files import write_json
from epsam.data.images import write_mask, write_rgb
from epsam.extraction.dataset_slides import load_slides
from epsam.extraction.patch_store import provenance
from epsam.paths import DatasetPaths
from epsam.preflight import software, weights
from epsam.preflight.data import check_grid_search, check_patches, check_slides, keeps_patches
from epsam.preflight.disk import Needs, check_disk, estimate, patch_limits
from epsam.preflight.finding import collect_findings, problem, warning
from epsam.preflight.software import (
    check_codecs,
    check_device,
    check_packages,
    check_postprocessing,
    check_python,
    check_tensorboard,
    within,
)
from epsam.preflight.weights import check_classifier_start, check_given_classifier, check_sam
from epsam.segment.sam.models import SPECS, build_sam

GB = 10**9


def told(findings):
    return [(finding.stops, finding.text) for finding in findings]


def only(findings, stops, *words):
    (finding,) = list(findings)
    assert finding.stops is stops
    for word in words:
        assert word in finding.text


def test_an_error_in_one_check_does_not_hide_the_others():
    def breaks():
        yield warning("first")
        raise DatasetError("second\nline")

    assert told(collect_findings([breaks, lambda: [problem("third")]])) == [
        (False, "first"),
        (True, "second line"),
        (True, "third"),
    ]


# Software
# ------------------------------------------------------------------------------------------------------------


def test_an_old_python_stops_and_a_new_one_does_not():
    only(check_python((3, 9)), True, "Python 3.9 is too old")
    assert told(check_python((3, 10))) == []


@pytest.mark.parametrize(
    ("version", "bounds", "kept"),
    [
        ("2.4", ">=2.4,<3", True),
        ("2.10.1", ">=2.4,<3", True),
        ("2.3.9", ">=2.4,<3", False),
        ("3.0", ">=2.4,<3", False),
        ("2.6.0+cu124", ">=2.4,<3", True),
        ("1.0", "==1.0", True),
        ("1.0.1", "==1.0", True),
        ("1.1", "==1.0", False),
        ("2024.1.30", ">=2024.1.30,<2027", True),
        ("", ">=2", True),
        ("9", "", True),
    ],
)
def test_bounds_of_versions(version, bounds, kept):
    assert within(version, bounds) == kept


def test_packages_are_compared_with_the_requirements(tmp_path):
    listed = tmp_path / "requirements.txt"
    listed.write_text(
        "# a comment\nnumpy>=1.0,<99\ntorch>=99  # too new\nnot-a-package-of-any-kind>=1\n\n-r x.txt\n"
    )
    (old, absent) = list(check_packages(listed))
    assert (old.stops, absent.stops) == (False, True)
    assert "package torch is 2" in old.text
    assert (
        absent.text
        == "package not-a-package-of-any-kind is not installed; run: pip install -r requirements.txt"
    )


def test_the_package_for_tensorboard_is_missed_only_if_a_stage_wants_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert list(check_tensorboard(False)) == []
    only(check_tensorboard(True), True, "tensorboard", "pip install tensorboard")


def test_the_package_for_dense_crf_is_missed_only_if_the_masks_want_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    assert told(check_postprocessing(MaskOptions())) == []
    only(
        collect_findings([lambda: check_postprocessing(MaskOptions(postprocess="crf"))]),
        True,
        "pip install pydensecrf2",
    )


def test_missing_codecs_are_named(monkeypatch):
    monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", {1: None, 5: None, 8: None})
    only(check_codecs(), False, "Aperio JPEG 2000, JPEG, JPEG 2000", "pip install imagecodecs")


def test_a_device_that_is_not_there_stops_and_a_cpu_warns_for_the_real_sam_only(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    only(check_device("cuda", "auto", False), True, "no usable GPU")
    only(check_device("auto", "auto", True), False, "no GPU is used")
    assert told(check_device("cpu", "auto", False)) == []


@pytest.mark.parametrize(("free", "warns"), [(8, True), (11.9, False)])
def test_a_small_or_busy_gpu_warns(monkeypatch, free, warns):
    monkeypatch.setattr(
        software, "select_device", lambda *_: SimpleNamespace(device=torch.device("cuda"))
    )
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free * 2**30, 12 * 2**30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card")
    assert [
        f"GPU Card has {free:.1f} of 12.0 GiB free" in finding.text
        for finding in check_device("auto", "auto", True)
    ] == [True] * warns


# Disk
# ----------------------------------------------------------------------------------------------------------------


def test_the_estimate_is_that_of_table_1():
    # 14 bins of 500 and 50, 2000 test positives; 6000, 700 and 2000 negatives (CAMELYON17).
    counts = patch_limits(PatchOptions())
    assert counts == {"train": (7000, 6000), "val": (700, 700), "test": (2000, 2000)}
    needs = estimate(counts, True, PatchOptions(), DecoderOptions())
    assert needs.patches == 18_400 * 512 * 512 * 3 * 3 // 4
    assert needs.embeddings == (7000 * 2 + 700 + 2000) * 256 * 64 * 64 * 2
    assert estimate(counts, False, PatchOptions(), DecoderOptions(embedding_cache=False)) == Needs(
        0, 0, needs.run
    )


def test_further_views_and_normal_patches_take_room():
    counts = {"train": (60, 10), "val": (5, 5), "test": (4, 4)}
    for share, normal in ((0.1, 7), (0.5, 10)):
        needs = estimate(
            counts, False, PatchOptions(), DecoderOptions(n_transform=4, normal_patches=share)
        )
        assert needs.embeddings == (60 * 4 + normal * 2 + 5 * 4 + 4 * 4) * 256 * 64 * 64 * 2


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (5, [(True, "about 7.0 GB will be written, 5.0 GB are free")]),
        (8, [(False, "embeddings take about 3.0 GB, 1.0 GB are left")]),
        (11, []),
    ],
)
def test_room_for_patches_and_run_is_needed_and_for_embeddings_wished(
    tmp_path, monkeypatch, free, expected
):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free * GB))
    found = told(check_disk(Needs(6 * GB, 3 * GB, GB), tmp_path / "not" / "yet", tmp_path))
    assert len(found) == len(expected)
    for (stops, text), (expected_stops, part) in zip(found, expected, strict=True):
        assert stops == expected_stops
        assert part in text


def test_a_folder_without_permission_stops(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda place, _: "run" not in str(place))
    (tmp_path / "run").mkdir()
    only(
        check_disk(Needs(0, 0, 0), tmp_path, tmp_path / "run"),
        True,
        "no permission to write",
        "checkpoints",
    )


# Weights
# -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "sam.pth"
    torch.manual_seed(0)
    torch.save(build_sam("vit_demo").state_dict(), path)
    return path


def sam(path="", kind="vit_demo"):
    return SamOptions(sam_model_type=kind, sam_checkpoint=str(path))


def test_weights_that_fit_say_nothing(tmp_path, demo_weights):
    assert told(check_sam(sam(demo_weights), tmp_path)) == []


def test_weights_of_another_network_stop_before_the_run(tmp_path, demo_weights):
    only(
        collect_findings([lambda: check_sam(sam(demo_weights, "vit_b"), tmp_path)]),
        True,
        "tensors do not fit vit_b",
    )


def test_given_weights_that_are_not_there_stop(tmp_path):
    only(check_sam(sam(tmp_path / "no.pth"), tmp_path), True, "no.pth: no such file")
    only(check_sam(sam(), tmp_path), True, "comes with this repository")
    only(
        check_given_classifier(MaskOptions(resnet_checkpoint="no.pth")),
        True,
        "no.pth: no such file",
    )


def test_a_known_file_with_another_hash_stops(tmp_path):
    (tmp_path / SPECS["vit_b"].file).write_bytes(b"half a download")
    only(check_sam(sam(kind="vit_b"), tmp_path), True, "its SHA-256 is not that of", "remove it")


@pytest.mark.parametrize(
    ("reason", "stops", "words"),
    [
        ("", False, "will be downloaded from https://"),
        ("no network", True, "cannot be reached (no network)"),
    ],
)
def test_what_has_to_be_fetched_warns_online_and_stops_offline(
    tmp_path, monkeypatch, reason, stops, words
):
    monkeypatch.setattr(weights, "unreachable", lambda _: reason)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    only(check_sam(sam(kind="vit_b"), tmp_path), stops, words, "sam_vit_b_01ec64.pth")
    only(
        check_classifier_start(ClassifierOptions(), tmp_path), stops, words, "resnet50-0676ba61.pth"
    )


def test_a_start_from_a_file_that_does_not_fit_stops(tmp_path, demo_weights):
    options = ClassifierOptions(backbone="resnet18", pretrained=str(demo_weights))
    only(
        collect_findings([lambda: check_classifier_start(options, tmp_path)]),
        True,
        "do not fit resnet18",
    )
    assert told(check_classifier_start(ClassifierOptions(pretrained="none"), tmp_path)) == []


# Data
# ----------------------------------------------------------------------------------------------------------------


def dataset(root):
    return DatasetPaths.of(PatchOptions(dataset_root=str(root), dataset_type="d"))


def write_patch(folder, name, side=8):
    write_rgb(folder / "image" / f"{name}.png", np.zeros((side, side, 3), np.uint8))


def test_a_grid_search_needs_true_masks_of_validation_and_a_rule_with_a_quantile(tmp_path):
    def found(brought, **options):
        return collect_findings([lambda: check_grid_search(paths, brought, MaskOptions(**options))])

    paths = dataset(tmp_path)
    for name in ("a_1", "b_0"):
        write_patch(paths.split("val"), name)
    assert told(found(True)) == []
    assert told(found(False, grid_search=True)) == [], "masks are cut with the patches"
    only(found(True, grid_search=True), True, "no validation patch has a true mask", "--quantile")
    only(found(False, grid_search=True, postprocess="none"), True, "--postprocess none has neither")
    write_mask(paths.split("val") / "mask" / "a_1.png", np.eye(8) > 0)
    assert told(found(True, grid_search=True)) == []


def test_patches_without_one_class_or_with_strangers_in_mask_are_told(tmp_path):
    paths = dataset(tmp_path)
    for name in ("a_1", "b_0"):
        write_patch(paths.split("train"), name)
        write_patch(paths.split("val"), name)
    write_mask(paths.split("train") / "mask" / "c_1.png", np.eye(8) > 0)
    write_patch(paths.split("test"), "a_1")
    assert keeps_patches(paths, tmp_path, PatchOptions())
    assert not keeps_patches(paths, tmp_path, PatchOptions(restart=True))
    only(
        check_patches(paths, "train", ""),
        False,
        "1 masks have no image of the same name, such as c_1.png",
    )
    only(
        check_patches(paths, "val", ""), False, "1 tumour patches have no mask, such as a_1", "Dice"
    )
    only(check_patches(paths, "test", ""), False, "they are not scored")
    (paths.split("val") / "image" / "b_0.png").unlink()
    only(
        collect_findings([lambda: check_patches(paths, "val", "")]),
        True,
        "1 positives and 0 negatives",
    )


def test_images_of_another_size_than_the_first_are_told_in_one_line_and_not_decoded(tmp_path):
    paths = dataset(tmp_path)
    for name, side in (("a_1", 8), ("b_0", 8), ("c_1", 12), ("d_1", 9)):
        write_patch(paths.split("train"), name, side)
    odd = paths.split("train") / "image" / "c_1.png"
    odd.write_bytes(odd.read_bytes()[:40])
    only(
        check_patches(paths, "train", ""),
        True,
        f"{odd}: 12×12 px, the first image has 8×8 px",
        "2 of 4 images",
    )


def test_masks_of_another_size_than_their_images_are_told_in_one_line(tmp_path):
    paths = dataset(tmp_path)
    for name in ("a_1", "b_0", "c_1", "d_1"):
        write_patch(paths.split("train"), name)
    masks = paths.split("train") / "mask"
    write_mask(masks / "a_1.png", np.eye(8) > 0)
    write_mask(masks / "c_1.png", np.ones((4, 6), bool))
    # Its directory lies behind the pixels, far from the first bytes.
    cv2.imwrite(
        str(masks / "d_1.tif"),
        np.random.default_rng(0).integers(256, size=(90, 100), dtype=np.uint8),
    )
    only(
        check_patches(paths, "train", ""),
        True,
        f"{masks / 'c_1.png'}: 6×4 px, the image has 8×8 px",
        "2 of 3 masks",
    )
    (masks / "c_1.png").unlink()
    only(check_patches(paths, "train", ""), True, "d_1.tif: 100×90 px", "1 of 2 masks")


def write_slide(paths, name, size=64):
    paths.slides.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        paths.slides / f"{name}.tif", np.zeros((size, size, 3), np.uint8), photometric="rgb"
    )


def write_outlines(paths, name, content="<ASAP_Annotations/>"):
    paths.annotations.mkdir(parents=True, exist_ok=True)
    (paths.annotations / f"{name}.xml").write_text(content)


@pytest.fixture
def slides(tmp_path):
    paths = dataset(tmp_path)
    for number in range(6):
        write_slide(paths, f"s{number}")
        write_outlines(paths, f"s{number}")
    return paths


def slide_findings(paths, **options):
    options = PatchOptions(dataset_root=str(paths.root.parent), dataset_type="d", **options)
    tables = paths.root.parent
    (tables / "splits_patient.csv").write_text("dataset,slide,split\n")
    (tables / "camelyon_exclusions.csv").write_text("dataset,slide,action,reason\n")
    return list(check_slides(paths, tables, options))


def test_patches_that_step_1_will_cut_again_are_not_those_to_train_on(slides):
    tables, options = slides.root.parent, PatchOptions()
    slide_findings(slides)
    write_patch(slides.split("train"), "a_1")
    write_json(
        slides.patch_options, provenance(load_slides(slides, tables, options).records, options)
    )
    assert keeps_patches(slides, tables, options)
    assert not keeps_patches(slides, tables, replace(options, stride=128))
    write_outlines(slides, "s0", "<ASAP_Annotations> </ASAP_Annotations>")
    assert not keeps_patches(slides, tables, options)
    slides.split_table.write_text("no table")
    assert not keeps_patches(slides, tables, options), "check_slides tells what is wrong with it"


def test_slides_that_fit_say_nothing(slides):
    assert told(slide_findings(slides)) == []


def test_slides_and_outlines_without_each_other_are_told_in_one_line_a_reason(slides):
    write_slide(slides, "lonely")
    write_outlines(slides, "nobodys")
    reasons = [finding.text for finding in slide_findings(slides) if not finding.stops]
    assert reasons == [
        "1 slides are left out (lonely): no outlines and not known to be normal (label it in splits.csv "
        "if it is)",
        "1 slides are left out (nobodys): outlines without a slide in images/",
    ]


def test_a_split_without_slides_stops(slides):
    rows = "".join(f"s{number},train\n" for number in range(6))
    (slides.root / "splits.csv").write_text(f"slide,split\n{rows}")
    assert [finding.text[:14] for finding in slide_findings(slides)] == [
        "val: no slide;",
        "test: no slide",
    ]


def test_damaged_slides_and_outlines_warn_and_stop_a_strict_run(slides):
    (slides.slides / "s1.tif").write_bytes(b"II*\0")
    write_outlines(slides, "s2", "<ASAP")
    for strict in (False, True):
        found = slide_findings(slides, strict=strict)
        assert [finding.stops for finding in found] == [strict, strict]
        assert "s1.tif" in found[0].text
        assert "s2.xml: not well-formed" in found[1].text


def test_a_wanted_resolution_that_no_slide_tells_stops(slides):
    found = slide_findings(slides, mpp=0.5)
    assert [finding.stops for finding in found] == [False] * 6 + [True]
    assert "none of the 6 slides can be used" in found[-1].text
