import importlib.util
import sys
from types import SimpleNamespace

import pytest
import tifffile
import torch
from packaging.specifiers import SpecifierSet

from epsam.config.masks import MaskOptions
from epsam.core import device as device_room
from epsam.preflight import software
from epsam.preflight.finding import collect_findings
from epsam.preflight.software import (
    check_codecs,
    check_device,
    check_packages,
    check_postprocessing,
    check_python,
    check_tensorboard,
    is_within_bounds,
    may_have_gpu,
)
from support.findings import assert_single, listed


def test_an_old_python_stops_and_a_new_one_does_not():
    assert_single(check_python((3, 9)), True, "Python 3.9 is too old")
    assert listed(check_python((3, 10))) == []


@pytest.mark.parametrize(
    ("version", "bounds", "is_within"),
    [
        ("2.4", ">=2.4,<3", True),
        ("2.10.1", ">=2.4,<3", True),
        ("2.3.9", ">=2.4,<3", False),
        ("3.0", ">=2.4,<3", False),
        ("2.6.0+cu124", ">=2.4,<3", True),
        ("1.0", "==1.0", True),
        ("1.0.0", "==1.0", True),
        ("1.0.1", "==1.0", False),
        ("1.0.1", "==1.0.*", True),
        ("1.5", "!=1.5", False),
        ("1.5", "~=1.4", True),
        ("2.0", "~=1.4", False),
        ("2.6.0a0+ecf3bae40a.nv25.01", ">=2.4,<3", True),
        ("as it was", ">=2", False),
        ("1.1", "==1.0", False),
        ("2024.1.30", ">=2024.1.30,<2027", True),
        ("", ">=2", True),
        ("9", "", True),
    ],
)
def test_bounds_of_versions(version, bounds, is_within):
    assert is_within_bounds(version, SpecifierSet(bounds)) == is_within


def test_packages_are_compared_with_the_requirements(tmp_path):
    listed = tmp_path / "requirements.txt"
    listed.write_text(
        "# a comment\nnumpy>=1.0,<99\ntorch>=99  # too new\n"
        "not-a-package-of-any-kind>=1\n\n-r x.txt\n"
    )
    (old, absent) = list(check_packages(listed))
    assert (old.stops_run, absent.stops_run) == (False, True)
    assert "package torch is 2" in old.message
    assert absent.message == (
        "package not-a-package-of-any-kind is not installed; run: pip install -r requirements.txt"
    )


def test_a_requirement_counts_only_where_its_marker_holds(tmp_path):
    listed = tmp_path / "requirements.txt"
    listed.write_text(
        'numpy>=99; python_version < "3"\nnumpy>=98 ; python_version >= "3"\nnumpy!=1.0\n'
    )
    (old,) = list(check_packages(listed))
    assert "this was made with >=98" in old.message


def test_a_line_that_is_no_requirement_is_named(tmp_path):
    listed = tmp_path / "requirements.txt"
    listed.write_text("numpy>=1.0\nnumpy 1.0\n")
    assert_single(
        check_packages(listed), True, "requirements.txt line 2: 'numpy 1.0' is no requirement"
    )


def test_tensorboard_is_missing_only_if_a_stage_logs_to_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert list(check_tensorboard(False)) == []
    assert_single(check_tensorboard(True), True, "tensorboard", "pip install tensorboard")


def test_dense_crf_is_missing_only_if_the_masks_need_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    assert listed(check_postprocessing(MaskOptions())) == []
    assert_single(
        collect_findings([lambda: check_postprocessing(MaskOptions(postprocess="crf"))]),
        True,
        "pip install pydensecrf2",
    )


def test_missing_codecs_are_named(monkeypatch):
    monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", {1: None, 5: None, 8: None})
    assert_single(
        check_codecs(), False, "Aperio JPEG 2000, JPEG, JPEG 2000", "pip install imagecodecs"
    )


@pytest.mark.parametrize("has_driver", [True, False])
def test_a_missing_gpu_stops_and_a_cpu_warns_for_the_published_sam_only(monkeypatch, has_driver):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(software, "may_have_gpu", lambda: has_driver)
    assert_single(check_device("cuda", "auto", False), True, "no usable GPU")
    assert_single(check_device("auto", "auto", True), False, "no GPU is used")
    assert listed(check_device("cpu", "auto", False)) == []


@pytest.mark.parametrize(("free", "warns"), [(8, True), (11.9, False)])
def test_a_small_or_busy_gpu_warns(monkeypatch, free, warns):
    monkeypatch.setattr(software, "may_have_gpu", lambda: True)
    monkeypatch.setattr(
        device_room, "select_device", lambda *_: SimpleNamespace(device=torch.device("cuda"))
    )
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free * 2**30, 12 * 2**30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card")
    assert [
        f"GPU Card has {free:.1f} of 12.0 GiB free" in finding.message
        for finding in check_device("auto", "auto", True)
    ] == [True] * warns


@pytest.mark.parametrize("driver", ["nvidia0", "nvidiactl", "kfd", "dxg", "nvhost-gpu"])
def test_a_driver_of_a_gpu_is_seen_in_its_device_file(monkeypatch, tmp_path, driver):
    monkeypatch.setattr(software.platform, "system", lambda: "Linux")
    monkeypatch.setattr(software, "DEVICE_FILES", tmp_path)
    (tmp_path / "null").touch()
    assert not may_have_gpu()
    (tmp_path / driver).touch()
    assert may_have_gpu()
    monkeypatch.setattr(software, "DEVICE_FILES", tmp_path / "absent")
    monkeypatch.setattr(software.platform, "system", lambda: "Windows")
    assert may_have_gpu()
