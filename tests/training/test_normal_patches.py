import numpy as np
import pytest

from epsam.config.masks import MaskRule
from epsam.config.metadata import select_fields
from epsam.core.device import DeviceConfig
from epsam.core.errors import TrainingError, WeightsError
from epsam.core.files import digest_of_files, sha256_of, write_json
from epsam.data.cam_store import CamStore, load_cams, save_cams
from epsam.data.images import write_rgb
from epsam.data.patches import Patch
from epsam.paths import RunPaths
from epsam.training.cams import cam_key, describe_external_classifier
from epsam.training.normal_patches import prepare_normal_patches
from epsam.training.round_data import NORMAL, count_normal_patches

SIDE = 16


@pytest.mark.parametrize(
    ("fraction", "n_positive", "expected"), [(0, 100, 0), (0.2, 100, 25), (0.25, 9, 3), (0.5, 7, 7)]
)
def test_the_fraction_is_of_all_patches(fraction, n_positive, expected):
    assert count_normal_patches(fraction, n_positive) == expected


@pytest.mark.parametrize("fraction", [1, -0.1, 20])
def test_a_number_outside_zero_to_one_is_an_error(fraction):
    with pytest.raises(TrainingError, match="--normal_patches .*give a number from 0"):
        count_normal_patches(fraction, 10)


def test_patches_that_look_like_tumour_come_first_and_those_without_a_mask_are_left_out(tmp_path):
    run = RunPaths(tmp_path)
    rule = MaskRule(cam="adl", quantile=0.5, open_kernel=0)
    write_json(run.mask_rule, select_fields(MaskRule, rule))
    run.classifier.write_bytes(b"stored CAMs need no classifier")
    patches, half = [], np.zeros((4, 4), np.float32)
    half[:, 2:] = 1
    probabilities = {"a_0": 0.2, "b_0": 0.9, "c_0": 0.6}
    for name in probabilities:
        write_rgb(tmp_path / "image" / f"{name}.png", np.zeros((SIDE, SIDE, 3), np.uint8))
        patches.append(Patch(name, 0, tmp_path / "image" / f"{name}.png", None))
    checksum = sha256_of(run.classifier)
    digest = digest_of_files(patch.image for patch in patches)
    recipe = cam_key("adl", rule, checksum, digest).digest
    maps = {"a_0": half, "b_0": np.zeros((4, 4), np.float32), "c_0": half.T}
    save_cams(run.cams(NORMAL), CamStore(checksum, maps, probabilities, recipe))

    normals = prepare_normal_patches(run, patches, SIDE, 4, DeviceConfig("cpu", None))
    assert [patch.name for patch in normals.patches] == ["c_0", "a_0"]
    inputs = normals.load_prompt_inputs(patches[0])
    expected = np.zeros((SIDE, SIDE), bool)
    expected[:, 8:] = True
    assert np.array_equal(inputs.mask, expected)
    assert inputs.cam[:, 10:].min() == 1
    assert not inputs.ground_truth().any()
    assert load_cams(run.cams(NORMAL), checksum).recipe == recipe


def test_cams_are_not_computed_with_another_classifier_than_those_of_the_positives(tmp_path):
    run, external = RunPaths(tmp_path / "run"), tmp_path / "given.pth"
    external.write_bytes(b"at first")
    write_json(
        run.mask_rule,
        select_fields(MaskRule, MaskRule())
        | describe_external_classifier(external, sha256_of(external)),
    )
    for change in (lambda: external.write_bytes(b"changed"), external.unlink):
        change()
        with pytest.raises(WeightsError, match="given.pth: missing, or not the classifier"):
            prepare_normal_patches(run, [], SIDE, 4, DeviceConfig("cpu", None))
