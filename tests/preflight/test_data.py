from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile

from epsam.config.masks import MaskOptions
from epsam.config.patches import PatchOptions
from epsam.core.files import write_json
from epsam.data.images import write_mask, write_rgb
from epsam.extraction.dataset_slides import load_slides
from epsam.extraction.patch_store import patch_key
from epsam.paths import DatasetPaths
from epsam.preflight.data import check_grid_search, check_patches, check_slides, will_reuse_patches
from epsam.preflight.finding import collect_findings
from support.findings import assert_single, listed


def dataset(root):
    return DatasetPaths.of(PatchOptions(dataset_root=str(root), dataset_type="d"))


def write_patch(folder, name, side=8):
    write_rgb(folder / "image" / f"{name}.png", np.zeros((side, side, 3), np.uint8))


def test_a_grid_search_needs_ground_truth_of_validation_and_a_rule_with_a_quantile(tmp_path):
    def check(reuses_patches, **options):
        return collect_findings(
            [lambda: check_grid_search(paths, reuses_patches, MaskOptions(**options))]
        )

    paths = dataset(tmp_path)
    for name in ("a_1", "b_0"):
        write_patch(paths.split("val"), name)
    assert listed(check(True)) == []
    assert listed(check(False, grid_search=True)) == [], "masks are cut with the patches"
    assert_single(
        check(True, grid_search=True),
        True,
        "no validation patch has a ground-truth mask",
        "--quantile",
    )
    assert_single(
        check(False, grid_search=True, postprocess="none"),
        True,
        "none cuts at no quantile",
    )
    write_mask(paths.split("val") / "mask" / "a_1.png", np.eye(8) > 0)
    assert listed(check(True, grid_search=True)) == []


def test_patches_of_one_class_and_masks_without_image_are_findings(tmp_path):
    paths = dataset(tmp_path)
    for name in ("a_1", "b_0"):
        write_patch(paths.split("train"), name)
        write_patch(paths.split("val"), name)
    write_mask(paths.split("train") / "mask" / "c_1.png", np.eye(8) > 0)
    write_patch(paths.split("test"), "a_1")
    assert will_reuse_patches(paths, tmp_path, PatchOptions())
    assert not will_reuse_patches(paths, tmp_path, PatchOptions(restart=True))
    assert_single(
        check_patches(paths, "train", ""),
        False,
        "1 masks have no image of the same name, such as c_1.png",
    )
    assert_single(
        check_patches(paths, "val", ""), False, "1 tumour patches have no mask, such as a_1", "Dice"
    )
    assert_single(check_patches(paths, "test", ""), False, "they are not scored")
    (paths.split("val") / "image" / "b_0.png").unlink()
    assert_single(
        collect_findings([lambda: check_patches(paths, "val", "")]),
        True,
        "1 positives and 0 negatives",
    )


def test_images_of_other_sizes_give_one_problem_and_are_not_decoded(tmp_path):
    paths = dataset(tmp_path)
    for name, side in (("a_1", 8), ("b_0", 8), ("c_1", 12), ("d_1", 9)):
        write_patch(paths.split("train"), name, side)
    odd = paths.split("train") / "image" / "c_1.png"
    odd.write_bytes(odd.read_bytes()[:40])
    assert_single(
        check_patches(paths, "train", ""),
        True,
        f"{odd}: 12×12 px, the first image has 8×8 px",
        "2 of 4 images",
    )


def test_masks_of_other_sizes_than_their_images_give_one_problem(tmp_path):
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
    assert_single(
        check_patches(paths, "train", ""),
        True,
        f"{masks / 'c_1.png'}: 6×4 px, the image has 8×8 px",
        "2 of 3 masks",
    )
    (masks / "c_1.png").unlink()
    assert_single(check_patches(paths, "train", ""), True, "d_1.tif: 100×90 px", "1 of 2 masks")


def write_slide(paths, name, size=64):
    paths.slides.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        paths.slides / f"{name}.tif", np.zeros((size, size, 3), np.uint8), photometric="rgb"
    )


TUMOUR = (
    '<ASAP_Annotations><Annotations><Annotation PartOfGroup="Tumor"><Coordinates>'
    '<Coordinate X="1" Y="1"/><Coordinate X="9" Y="1"/><Coordinate X="9" Y="9"/>'
    "</Coordinates></Annotation></Annotations></ASAP_Annotations>"
)


def write_annotations(paths, name, content=TUMOUR):
    paths.annotations.mkdir(parents=True, exist_ok=True)
    (paths.annotations / f"{name}.xml").write_text(content)


@pytest.fixture
def slides(tmp_path):
    paths = dataset(tmp_path)
    for number in range(6):
        write_slide(paths, f"s{number}")
        write_annotations(paths, f"s{number}")
    return paths


def slide_findings(paths, **options):
    options = PatchOptions(dataset_root=str(paths.root.parent), dataset_type="d", **options)
    tables = paths.root.parent
    (tables / "splits_patient.csv").write_text("dataset,slide,split\n")
    (tables / "camelyon_exclusions.csv").write_text("dataset,slide,action,reason\n")
    return list(check_slides(paths, tables, options))


def warnings_and_problems(paths, **options):
    return [finding for finding in slide_findings(paths, **options) if not finding.is_note]


def test_patches_that_step_1_will_replace_are_not_reused(slides):
    tables, options = slides.root.parent, PatchOptions()
    slide_findings(slides)
    write_patch(slides.split("train"), "a_1")
    write_json(
        slides.patch_options,
        patch_key(load_slides(slides, tables, options).records, options).record(),
    )
    assert will_reuse_patches(slides, tables, options)
    assert not will_reuse_patches(slides, tables, replace(options, stride=128))
    write_annotations(slides, "s0", "<ASAP_Annotations> </ASAP_Annotations>")
    assert not will_reuse_patches(slides, tables, options)
    slides.split_table.write_text("no table")
    assert not will_reuse_patches(slides, tables, options), (
        "check_slides tells what is wrong with it"
    )


def test_slides_that_fit_give_no_warning(slides):
    assert [finding for finding in slide_findings(slides) if not finding.is_note] == []


def test_slides_and_annotations_without_each_other_give_one_warning_per_reason(slides):
    write_slide(slides, "lonely")
    write_annotations(slides, "nobodys")
    reasons = [finding.message for finding in slide_findings(slides) if not finding.is_note]
    assert reasons == [
        "1 slides are left out (lonely): no outlines and not known to be normal (label it in "
        "splits.csv if it is)",
        "1 slides are left out (nobodys): outlines without a slide in images/",
    ]


def test_a_split_without_slides_stops(slides):
    rows = "".join(f"s{number},train\n" for number in range(6))
    (slides.root / "splits.csv").write_text(f"slide,split\n{rows}")
    assert [finding.message[:14] for finding in warnings_and_problems(slides)] == [
        "val: no slide;",
        "test: no slide",
    ]


def test_damaged_slides_and_annotations_warn_and_stop_a_strict_run(slides):
    (slides.slides / "s1.tif").write_bytes(b"II*\0")
    write_annotations(slides, "s2", "<ASAP")
    for strict in (False, True):
        findings = warnings_and_problems(slides, strict=strict)
        assert [finding.stops_run for finding in findings] == [strict, strict]
        assert "s1.tif" in findings[0].message
        assert "s2.xml: not well-formed" in findings[1].message


def test_patches_at_a_resolution_stop_if_no_slide_has_one(slides):
    findings = warnings_and_problems(slides, mpp=0.5)
    assert [finding.stops_run for finding in findings] == [False] * 6 + [True]
    assert "none of the 6 slides can be used" in findings[-1].message
