import hashlib

import numpy as np

from epsam.config.masks import MaskOptions
from epsam.core.files import sha256_of, write_json
from epsam.data.cam_store import CamStore, save_cams
from epsam.data.images import read_mask, write_rgb
from epsam.data.patches import Patch
from epsam.paths import RunPaths
from epsam.training.cams import (
    describe_external_classifier,
    digest_of_cam_recipe,
    find_mask_classifier,
    load_matching_cams,
    write_initial_masks,
)


def maps(recipe="r"):
    return CamStore(
        "sum",
        {"a_1": np.eye(4, dtype=np.float32), "b_1": np.zeros((4, 4), np.float32)},
        {"a_1": 0.9, "b_1": 0.1},
        recipe,
    )


def test_kept_maps_are_taken_only_if_their_recipe_is_the_one_asked_for(tmp_path):
    path = tmp_path / "train.npz"
    assert load_matching_cams(path, "sum", "r") is None
    save_cams(path, maps())
    assert np.array_equal(load_matching_cams(path, "sum", "r").maps["a_1"], np.eye(4))
    assert load_matching_cams(path, "sum", "other") is None
    assert load_matching_cams(path, "other classifier", "r") is None


def test_the_recipe_knows_what_decides_a_map_and_nothing_else():
    def recipe(method="adl", classifier="c", patches="p", **options):
        return digest_of_cam_recipe(method, MaskOptions(**options), classifier, patches)

    assert recipe() == recipe(quantile=0.9, postprocess="crf", open_kernel=31, batch_size=1)
    assert (
        len(
            {
                recipe(),
                recipe("gradcam"),
                recipe(classifier="d"),
                recipe(patches="q"),
                recipe(rotations=1),
                recipe(cam_layer="4.0"),
            }
        )
        == 6
    )


def test_masks_belong_to_the_given_classifier_or_else_to_the_own_one_as_it_is(tmp_path):
    run, given = RunPaths(tmp_path / "run"), tmp_path / "given.pth"
    given.write_bytes(b"given")
    write_json(run.mask_rule, {"cam": "adl"})
    for content in (b"own", b"trained again"):
        run.classifier.write_bytes(content)
        assert find_mask_classifier(run) == (run.classifier, hashlib.sha256(content).hexdigest())
    write_json(
        run.mask_rule, {"cam": "adl", **describe_external_classifier(given, sha256_of(given))}
    )
    assert find_mask_classifier(run) == (given, hashlib.sha256(b"given").hexdigest())


def test_masks_are_written_by_the_rule_and_empty_ones_counted(tmp_path):
    patches = []
    for name in ("a_1", "b_1"):
        write_rgb(tmp_path / f"{name}.png", np.zeros((4, 4, 3), np.uint8))
        patches.append(Patch(name, 1, tmp_path / f"{name}.png", None))
    run = RunPaths(tmp_path / "run")
    assert (
        write_initial_masks(run, "train", maps(), patches, 4, MaskOptions(postprocess="none")).empty
        == 1
    )
    assert np.array_equal(read_mask(run.initial_masks("train") / "a_1.png"), np.eye(4, dtype=bool))
    assert not read_mask(run.initial_masks("train") / "b_1.png").any()
