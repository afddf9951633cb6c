"""The run that another method takes its pseudo-labels from has to be there, finished, and of the
same patches.
"""

import dataclasses

import numpy as np
import pytest

from epsam.config.segmenter import SegmenterOptions
from epsam.core.errors import TrainingError
from epsam.core.files import digest_of_files, sha256_of, write_json
from epsam.data.images import write_mask, write_rgb
from epsam.data.patches import Patch
from epsam.paths import RunPaths
from epsam.preflight.source_run import check_source_run
from epsam.training.segmenter_targets import load_targets
from epsam.training.source_run import copy_gate_classifier, require_source_run

SIDE = 8


@pytest.fixture
def patches(tmp_path):
    """Two positives."""
    patches = []
    for name in ("a_1", "b_1"):
        image = tmp_path / "image" / f"{name}.png"
        write_rgb(image, np.full((SIDE, SIDE, 3), ord(name[0]), np.uint8))
        patches.append(Patch(name, 1, image, None))
    return patches


@pytest.fixture
def options(tmp_path):
    return SegmenterOptions(
        checkpoint_root=str(tmp_path / "checkpoints"), targets="pseudo", from_run="source"
    )


@pytest.fixture
def source(tmp_path, patches):
    """A run of two rounds; after the last one, b_1 is accepted alone."""
    run = RunPaths(tmp_path / "checkpoints" / "source")
    run.root.mkdir(parents=True)
    run.classifier.write_bytes(b"weights")
    digest = digest_of_files(patch.image for patch in patches)
    for number in (0, 1, 2):
        record = {"fingerprint": "", "inputs": {"train": digest}}
        write_json(run.root / "stages" / f"decoder_{number}.json", record)
    write_json(run.options, {f"decoder_{number}": {"n_iter": 2} for number in (1, 2)})
    for number, name in ((0, "a_1"), (1, "a_1"), (2, "b_1")):
        write_mask(run.pseudo_masks(number) / f"{name}.png", np.ones((SIDE, SIDE), bool))
    return run


def targets(options, patches):
    run = RunPaths.of(options)
    return [(item.patch.name, item.target) for item in load_targets(options, run, patches, [])]


def test_the_targets_are_the_masks_accepted_after_the_last_round(options, source, patches):
    assert targets(options, patches) == [("b_1", source.pseudo_masks(2) / "b_1.png")]
    assert list(check_source_run(options)) == []


def test_a_run_that_is_not_there_is_named(options):
    with pytest.raises(TrainingError, match="source: .*checkpoints has no such run; name one"):
        require_source_run(options)


def test_without_a_name_there_is_nothing_to_learn_from(tmp_path):
    options = SegmenterOptions(checkpoint_root=str(tmp_path), targets="pseudo")
    (finding,) = check_source_run(options)
    assert finding.stops_run
    assert finding.message.startswith("--from_run (FROM of train.sh): names no run")


@pytest.mark.parametrize("targets", ["initial", "ground_truth"])
def test_other_targets_need_no_such_run(tmp_path, targets):
    options = SegmenterOptions(checkpoint_root=str(tmp_path), targets=targets)
    assert list(check_source_run(options)) == []


def test_a_run_with_a_round_missing_is_unfinished(options, source):
    (source.root / "stages/decoder_2.json").unlink()
    with pytest.raises(TrainingError, match="finished 1 of 2 rounds of retraining; finish it with"):
        require_source_run(options)


def test_an_outdated_round_is_no_finished_one(options, source):
    record = {"fingerprint": "", "inputs": {}, "outdated": "lr 1 → 2"}
    write_json(source.root / "stages/decoder_2.json", record)
    with pytest.raises(TrainingError, match="finished 1 of 2 rounds"):
        require_source_run(options)


def test_a_run_without_rounds_is_unfinished(options, source):
    for number in (1, 2):
        (source.root / f"stages/decoder_{number}.json").unlink()
    with pytest.raises(TrainingError, match="has finished no round of retraining"):
        require_source_run(options)


def test_nothing_is_learnt_from_degenerate_masks(options, source):
    record = {"fingerprint": "", "inputs": {}, "trouble": "every one is full"}
    write_json(source.root / "stages/decoder_2.json", record)
    with pytest.raises(TrainingError, match="nothing to learn from, every one is full; name"):
        require_source_run(options)


def test_a_run_of_other_patches_is_refused(options, source, patches):
    write_rgb(patches[0].image, np.zeros((SIDE, SIDE, 3), np.uint8))
    with pytest.raises(TrainingError, match="source: its training patches are others than these"):
        targets(options, patches)


def test_the_classifier_of_the_source_becomes_the_gate(options, source):
    run = RunPaths.of(options)
    assert copy_gate_classifier(options, run) == [run.gate_classifier]
    assert run.gate_classifier.read_bytes() == b"weights"
    # Masks of a person have no classifier, and that of an earlier training is not theirs.
    supervised = dataclasses.replace(options, targets="ground_truth", from_run="")
    assert copy_gate_classifier(supervised, run) == []
    assert not run.gate_classifier.exists()


def test_a_classifier_from_outside_of_the_source_is_found_by_its_checksum(
    options, source, tmp_path
):
    outside = tmp_path / "outside.pth"
    outside.write_bytes(b"others")
    rule = {"classifier_file": str(outside), "classifier_sha256": sha256_of(outside)}
    write_json(source.mask_rule, rule)
    (copy,) = copy_gate_classifier(options, RunPaths.of(options))
    assert copy.read_bytes() == b"others"
    outside.write_bytes(b"trained again")
    with pytest.raises(TrainingError, match="outside.pth: missing, or not the classifier of the r"):
        require_source_run(options)


def test_a_source_without_its_classifier_is_refused_before_training(options, source, patches):
    source.classifier.unlink()
    with pytest.raises(TrainingError, match=r"resnet_adl.pth: missing, or not .* put it back, or"):
        targets(options, patches)
