import hashlib

import numpy as np

from epsam.config.masks import MaskOptions
from epsam.core.files import sha256_of, write_json
from epsam.data.cam_store import CamStore, save_cams
from epsam.data.images import read_mask, write_rgb
from epsam.data.patches import Patch
from epsam.paths import RunPaths
from epsam.training.cams import (
    cam_key,
    describe_external_classifier,
    load_current_cams,
    write_initial_masks,
)
from epsam.training.round_data import find_mask_classifier


def example_cams(recipe="r"):
    return CamStore(
        "sum",
        {"a_1": np.eye(4, dtype=np.float32), "b_1": np.zeros((4, 4), np.float32)},
        {"a_1": 0.9, "b_1": 0.1},
        recipe,
    )


def test_stored_cams_are_reused_only_if_their_recipe_matches(tmp_path):
    path = tmp_path / "train.npz"
    key = cam_key("adl", MaskOptions(), "sum", "p")
    assert load_current_cams(path, key) is None
    save_cams(path, example_cams(key.digest))
    assert np.array_equal(load_current_cams(path, key).maps["a_1"], np.eye(4))
    assert load_current_cams(path, cam_key("adl", MaskOptions(rotations=1), "sum", "p")) is None
    assert load_current_cams(path, cam_key("adl", MaskOptions(), "other classifier", "p")) is None


def test_the_recipe_depends_on_what_decides_a_cam_and_on_nothing_else():
    def recipe(method="adl", classifier="c", patches="p", **options):
        return cam_key(method, MaskOptions(**options), classifier, patches).digest

    assert recipe() == recipe(quantile=0.9, postprocess="crf", open_kernel=31, batch_size=1)
    recipes = {
        recipe(),
        recipe("gradcam"),
        recipe(classifier="d"),
        recipe(patches="q"),
        recipe(rotations=1),
        recipe(cam_layer="4.0"),
        recipe(refine="none"),
    }
    assert len(recipes) == 7
    # As version 0.1.0 computed it: the maps of finished runs are reused.
    text = '["adl", "4.0", 1, "c", "p"]'
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert recipe(rotations=1, cam_layer="4.0") == expected


def test_masks_belong_to_the_external_classifier_or_else_to_the_runs_own_as_it_is_now(tmp_path):
    run, external = RunPaths(tmp_path / "run"), tmp_path / "external.pth"
    external.write_bytes(b"external")
    write_json(run.mask_rule, {"cam": "adl"})
    for content in (b"trained", b"trained again"):
        run.classifier.write_bytes(content)
        assert find_mask_classifier(run) == (run.classifier, hashlib.sha256(content).hexdigest())
    write_json(
        run.mask_rule, {"cam": "adl", **describe_external_classifier(external, sha256_of(external))}
    )
    assert find_mask_classifier(run) == (external, hashlib.sha256(b"external").hexdigest())


def test_masks_are_written_by_the_rule_and_empty_ones_counted(tmp_path):
    patches = []
    for name in ("a_1", "b_1"):
        write_rgb(tmp_path / f"{name}.png", np.zeros((4, 4, 3), np.uint8))
        patches.append(Patch(name, 1, tmp_path / f"{name}.png", None))
    run = RunPaths(tmp_path / "run")
    rule = MaskOptions(postprocess="none")
    counts = write_initial_masks(run, "train", example_cams(), patches, 4, rule)
    assert counts.empty == 1
    assert np.array_equal(read_mask(run.initial_masks("train") / "a_1.png"), np.eye(4, dtype=bool))
    assert not read_mask(run.initial_masks("train") / "b_1.png").any()
