"""Reviewed pixels are trusted, the others keep their pseudo-label: targets, weights, loss."""

import logging
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import retrain_decoder
import reuse_run
from epsam.config.command_line import parse
from epsam.config.decoder import RetrainOptions
from epsam.config.reuse import ReuseOptions
from epsam.core.errors import DatasetError, FinishedWorkError
from epsam.core.files import read_json, sha256_of
from epsam.corrections.shapes import TrustedPixels
from epsam.corrections.store import CorrectionStore
from epsam.data.cam_store import load_cams
from epsam.data.images import (
    read_mask,
    read_mask_values,
    write_mask,
    write_probability,
    write_rgb,
)
from epsam.data.patches import Patch
from epsam.metrics import EPSILON
from epsam.paths import RunPaths
from epsam.segment.sam.losses import decoder_loss
from epsam.training.corrected_targets import CorrectedTargets, add_corrections, list_relabelled
from epsam.training.example_targets import load_target, load_values, load_weights
from epsam.training.round_data import CORRECTED, Example, RoundData
from support.old_mini_run import unpacked_run
from support.slide_dataset import write_slide

# Columns 0 and 1 are reviewed, and column 0 is tumour there; the pseudo-label has columns 1 and 2.
REVIEWED_HALF = np.array([[255, 128, 0, 0]] * 4)
PSEUDO = np.array([[0, 1, 1, 0]] * 4, bool)


def patch(name):
    return Patch(name, 1, Path(f"{name}.png"), None)


@pytest.fixture
def files(tmp_path):
    write_mask(tmp_path / "pseudo.png", PSEUDO)
    write_probability(tmp_path / "soft.png", PSEUDO * 0.6)
    write_probability(tmp_path / "correction.png", REVIEWED_HALF / 255)
    return tmp_path


def test_the_target_is_the_pseudo_label_with_the_reviewed_pixels_in_its_place(files):
    both = Example(patch("a"), files / "pseudo.png", None, files / "correction.png")
    assert load_target(both)[0].tolist() == [True, False, True, False]
    # Without an accepted pseudo-label what nobody has reviewed is no tumour, and weighs nothing.
    alone = Example(patch("a"), None, None, files / "correction.png")
    assert load_target(alone)[0].tolist() == [True, False, False, False]


def test_reviewed_pixels_weigh_what_the_flag_says_and_turn_with_the_patch(files):
    both = Example(patch("a"), files / "pseudo.png", None, files / "correction.png", 3.0)
    alone = Example(patch("b"), None, None, files / "correction.png", 3.0)
    plain = Example(patch("c"), files / "pseudo.png")
    weights = load_weights([both, alone, plain], [0, 0, 0], 4)
    assert weights[:, 0].tolist() == [[3, 3, 1, 1], [3, 3, 0, 0], [1, 1, 1, 1]]
    assert load_weights([plain], [0], 4) is None

    # Transform 2 of D4 is the half turn: the reviewed half goes to the right.
    turned = load_weights([both], [2], 4)
    assert turned[0, 0].tolist() == [1, 1, 3, 3]


def test_reviewed_pixels_are_certain_among_soft_targets(files):
    example = Example(
        patch("a"), files / "pseudo.png", files / "soft.png", files / "correction.png"
    )
    values = load_values(example, load_target(example), 0)
    np.testing.assert_allclose(values[0], [1, 0, 0.6, 0], atol=1 / 255)


def test_weights_of_one_change_no_loss_and_a_weight_of_zero_leaves_a_pixel_out():
    logits = torch.tensor([[[2.0, -1.0], [0.5, 3.0]]])
    targets = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    plain = decoder_loss(logits, targets)
    torch.testing.assert_close(decoder_loss(logits, targets, False, torch.ones(1, 2, 2)), plain)

    # The left column alone: probabilities p and q, targets 1 and 0.
    weights = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    p, q = (1 / (1 + math.exp(-x)) for x in (2.0, 0.5))
    dice = (2 * p + EPSILON) / (p + q + 1 + EPSILON)
    iou = (p + EPSILON) / (q + 1 + EPSILON)
    loss = decoder_loss(logits, targets, False, weights)
    assert float(loss) == pytest.approx(2 - dice - iou, abs=1e-6)


def test_a_patch_reviewed_as_normal_is_fitted_by_the_reviewed_pixels_alone():
    logits = torch.tensor([[[2.0, -1.0]]])
    weights = torch.tensor([[[3.0, 0.0]]])
    # Cross-entropy of the logit 2 with the target 0; the weight cancels.
    expected = math.log(1 + math.exp(2.0))
    loss = decoder_loss(logits, torch.zeros(1, 1, 2), False, weights)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_corrected_patches_need_no_accepted_pseudo_label_and_keep_their_order(files):
    run = RunPaths(files / "run")
    names = ("a", "b", "c", "d")
    for name in names:
        write_mask(run.initial_masks("train") / f"{name}.png", np.zeros((4, 4), bool))
    write_probability(files / "normal.png", np.full((4, 4), 128 / 255))
    accepted = [
        Example(patch("a"), files / "pseudo.png"),
        Example(patch("c"), files / "pseudo.png"),
    ]
    targets = {
        "b": files / "correction.png",
        "c": files / "correction.png",
        # Nothing to prompt: no tumour by the person, none by the classifier, no pseudo-label.
        "d": files / "normal.png",
    }
    patches = [patch(name) for name in names]
    examples = add_corrections(accepted, CorrectedTargets(targets), run, patches, 2.0)
    assert [example.patch.name for example in examples] == ["a", "b", "c"]
    assert [example.correction is not None for example in examples] == [False, True, True]
    assert [example.target is not None for example in examples] == [True, False, True]
    assert examples[1].correction_weight == 2.0


def test_a_patch_of_label_0_is_learnt_from_where_it_holds_tumour_or_the_cam_is_wrong(files):
    run = RunPaths(files / "run")
    further = [Patch(name, 0, Path(f"{name}.png"), None) for name in ("t_0", "cam_0", "quiet_0")]
    # The CAM of the first and of the last one leave no initial mask.
    for item in further:
        mask = np.full((4, 4), item.name == "cam_0")
        write_mask(run.initial_masks(CORRECTED) / f"{item.name}.png", mask)
    write_probability(files / "normal.png", np.full((4, 4), 128 / 255))
    targets = dict.fromkeys(("cam_0", "quiet_0"), files / "normal.png")
    targets["t_0"] = files / "correction.png"
    accepted = [Example(patch("a"), files / "pseudo.png")]
    corrections = CorrectedTargets(targets, further)
    examples = add_corrections(accepted, corrections, run, [patch("a")])
    assert [example.patch.name for example in examples] == ["a", "t_0", "cam_0"]
    assert load_target(examples[1])[0].tolist() == [True, False, False, False]
    assert not load_target(examples[2]).any()
    # What nobody has reviewed of it weighs nothing.
    assert load_weights(examples[1:2], [0], 4)[0, 0].tolist() == [1, 1, 0, 0]


def test_labels_that_corrections_contradict_are_counted():
    def pixels(reviewed, tumour):
        return TrustedPixels(np.full((2, 2), reviewed), np.full((2, 2), tumour))

    half = TrustedPixels(np.eye(2, dtype=bool), np.zeros((2, 2), bool))
    corrected = {
        "none_1": pixels(True, False),
        "half_1": half,
        "tumour_1": pixels(True, True),
        "none_0": pixels(True, False),
        "tumour_0": pixels(True, True),
    }
    positives = [patch(name) for name in ("none_1", "half_1", "tumour_1")]
    data = RoundData(positives, [], [], None, None)
    assert list_relabelled(corrected, data) == ["none_1", "tumour_0"]


FLAGS = (
    "--dataset_type mini --run mini-corrected --device cpu --sam_model_type vit_demo "
    "--sam_checkpoint coarse_sam.pth --epoch 1 --lr 1e-3 --ids_threshold -1 --batch_size 4 "
    "--n_point 5 --embedding_transforms 2 --n_sample 2 --n_transform 2 --allow_degenerate "
    "--n_iter 1 --pepm_weight cam"
)


@pytest.fixture
def old_run(tmp_path, monkeypatch):
    """A finished run of an older version, small and quick."""
    monkeypatch.chdir(tmp_path)
    with unpacked_run(tmp_path) as folder:
        yield folder


def reuse(source="mini", run="mini-corrected"):
    reuse_run.main(ReuseOptions(run=run, source_run=source))


def retrain(*flags):
    retrain_decoder.main(parse("retrain_decoder", RetrainOptions, [*FLAGS.split(), *flags]))


def test_a_corrected_run_goes_on_from_the_preliminary_decoder_and_learns_the_corrections(
    old_run, caplog
):
    caplog.set_level(logging.INFO)
    before = sha256_of(old_run / "checkpoints/mini/sam_pre_decoder.pth")
    reuse()
    run = RunPaths(Path("checkpoints/mini-corrected"))
    assert sha256_of(run.preliminary_decoder) == before
    # By a link, not by a copy.
    assert os.stat(run.preliminary_decoder).st_nlink > 1

    store = CorrectionStore(Path("corrections"))
    square = [[0, 0], [32, 0], [32, 32], [0, 32]]
    store.add("train/p0_1", 0, "tumour", square)
    store.add("test/p0_1", 0, "tumour", square)
    # A patch that its label calls normal.
    store.add("train/p6_0", 0, "tumour", square)
    # A slide that the dataset does not hold: the tumour of its first window, and half the next one.
    write_slide(Path("slides/new.tif"))
    store.add("new", 0, "tumour", [[0, 0], [96, 0], [96, 64], [0, 64]])
    # And a plain image.
    pixels = np.random.default_rng(1).integers(100, 200, (64, 64, 3)).astype(np.uint8)
    write_rgb(Path("slides/photo.png"), pixels)
    store.add("photo", 0, "tumour", square)
    retrain("--corrections", "corrections", "--correction_slides", "slides")
    text = caplog.text
    assert "2 corrected slides and images outside of the dataset: 3 patches, 3 with tumour" in text
    assert list(read_json(run.record)["corrected_slides"]["inputs"]) == ["new", "photo"]
    assert "corrections of 2 training patches, 25 % of their pixels reviewed" in text
    assert "1 corrected patches have another label now (first p6_0)" in text
    assert "1 files of corrections are of val or test, or of a case there, and are never" in text
    values = read_mask_values(run.corrections / "p0_1.png")
    assert (values[:32, :32] == 255).all()
    assert (values[32:] == 0).all()

    # The rounds of the source run are as they were, and no work is done twice.
    inputs = read_json(run.root / "stages/decoder_1.json")["inputs"]
    assert inputs["corrections"]
    assert inputs["corrected_patches"]
    maps = load_cams(run.cams(CORRECTED), sha256_of(run.classifier)).maps
    assert sorted(maps) == ["new_x0_y0_1", "new_x64_y0_1", "p6_0", "photo_x0_y0_1"]
    # The dataset is as it was.
    assert not list(Path("dataset/mini").rglob("new*"))
    caplog.clear()
    retrain("--corrections", "corrections", "--correction_slides", "slides")
    assert "decoder_1: done already" in caplog.text

    # Another correction is another input, and what is finished is not lost in silence.
    store.add("train/p0_1", 1, "normal", square)
    with pytest.raises(FinishedWorkError, match="corrections"):
        retrain("--corrections", "corrections", "--correction_slides", "slides")
    retrain("--corrections", "corrections", "--replace")
    assert "2 files of corrections are of no patch, slide or image here (first new.geojson)" in (
        caplog.text
    )
    assert not run.corrected_slides.exists()
    assert not (read_mask_values(run.corrections / "p0_1.png") == 255).any()
    assert not read_mask(run.corrections / "p0_1.png")[40:].any()


def test_corrections_of_no_training_patch_are_one_line(old_run):
    reuse()
    CorrectionStore(Path("corrections")).add("test/p0_1", 0, "tumour", [[0, 0], [9, 0], [9, 9]])
    with pytest.raises(DatasetError, match="corrects no training patch, so"):
        retrain("--corrections", "corrections")
    with pytest.raises(DatasetError, match="nowhere: no such folder; correct patches or slides"):
        retrain("--corrections", "nowhere")


def test_a_run_that_is_not_finished_or_is_the_run_itself_is_no_source(old_run):
    with pytest.raises(DatasetError, match="has not finished train_classifier.py.*without CORREC"):
        reuse(source="nobody")
    with pytest.raises(DatasetError, match="reuses work of another run"):
        reuse(source="mini", run="mini")
