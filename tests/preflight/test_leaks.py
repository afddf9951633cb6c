"""Patches that two splits share, by content, slide, case or patient."""

import numpy as np
import pytest

from epsam.config.patches import PatchOptions
from epsam.data.images import write_mask, write_rgb
from epsam.data.patches import list_labelled_patches
from epsam.paths import DatasetPaths
from epsam.preflight.data import check_resolutions
from epsam.preflight.leaks import check_leaks
from epsam.preflight.pixels import check_pixels
from support.findings import assert_single, listed


@pytest.fixture
def paths(tmp_path):
    paths = DatasetPaths.of(PatchOptions(dataset_root=str(tmp_path), dataset_type="d"))
    number = 0
    for split in ("train", "val", "test"):
        for name in ("a_1", "b_0"):
            number += 1
            image = np.random.default_rng(number).integers(50, 255, (8, 8, 3), dtype=np.uint8)
            write_rgb(paths.split(split) / "image" / f"{split}{name}.png", image)
    return paths


def copy(paths, source, target):
    content = (paths.root / source).read_bytes()
    (paths.root / target).write_bytes(content)


def test_splits_of_their_own_give_no_finding(paths):
    assert listed(check_leaks(paths)) == []
    # Twice in one split is no leak.
    copy(paths, "train/image/traina_1.png", "train/image/again_1.png")
    assert listed(check_leaks(paths)) == []


def test_the_same_content_in_two_splits_is_told_by_any_name(paths):
    copy(paths, "train/image/traina_1.png", "test/image/other_1.png")
    assert_single(check_leaks(paths), False, "1 patches are in two splits", "other_1.png")


def test_a_slide_and_a_case_of_the_table_in_two_splits_are_told(paths):
    rows = "traina,1,s1,k1\nvala,1,s1,k2\ntesta,1,s2,k1\ntrainb,0,s3,\nvalb,0,s4,\n"
    paths.patch_table.write_text(f"id,label,slide,case\n{rows}")
    messages = [finding.message for finding in check_leaks(paths)]
    assert len(messages) == 2
    assert "1 slides have patches in two splits (s1 in train and val)" in messages[0]
    assert "1 cases have patches in two splits (k1 in train and test)" in messages[1]


def test_a_patient_that_names_tell_in_two_splits_is_told(paths):
    for split, name in (
        ("train", "patient_004_node_4_x0_y0_1"),
        ("val", "patient_004_node_1_x0_y0_1"),
    ):
        image = np.full((8, 8, 3), len(split), np.uint8)
        write_rgb(paths.split(split) / "image" / f"{name}.png", image)
    assert_single(check_leaks(paths), False, "1 patients", "patient_004 in train and val")


@pytest.mark.parametrize(
    ("sizes", "stops"), [([0.25, 0.27], None), ([0.25, 0.25, 0.28], False), ([0.25, 0.499], True)]
)
def test_mixed_magnifications_warn_from_a_tenth_and_stop_from_one_and_a_half(sizes, stops):
    findings = list(check_resolutions(sizes, "slides"))
    assert [finding.stops_run for finding in findings] == ([] if stops is None else [stops])
    if stops:
        assert "1 of 0.25 µm/px, 1 of 0.50 µm/px" in findings[0].message


def test_black_images_indexed_masks_and_masks_of_negatives_are_told(tmp_path):
    split = tmp_path / "train"
    good = np.full((8, 8, 3), 150, np.uint8)
    for name in ("a_1", "b_0", "c_1"):
        write_rgb(split / "image" / f"{name}.png", good)
        write_mask(split / "mask" / f"{name}.png", np.eye(8) > 0)
    assert_single(check_pixels(list_labelled_patches(split)), False, "b_0.png", "without tumour")
    (split / "mask" / "b_0.png").unlink()
    assert listed(check_pixels(list_labelled_patches(split))) == []

    values = np.zeros((8, 8, 3), np.uint8)
    values[0], values[1] = 1, 2
    write_rgb(split / "mask" / "c_1.png", values)
    assert_single(check_pixels(list_labelled_patches(split)), False, "c_1.png", "two values")
    write_mask(split / "mask" / "c_1.png", np.eye(8) > 0)
    write_rgb(split / "image" / "a_1.png", good * 0)
    assert_single(check_pixels(list_labelled_patches(split)), True, "a_1.png: all black")
