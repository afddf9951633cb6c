"""Methods to compare EP-SAM with, each from the mini dataset to evaluation and inference."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

import check
import evaluate
import generate_initial_masks
import infer
import report
import train_box_decoder
import train_classifier
import train_segmenter
from epsam.config.command_line import parse
from epsam.config.preflight import CheckOptions
from epsam.core.errors import PreflightError, WeightsError
from epsam.core.files import write_json
from epsam.data.images import read_mask, write_mask
from epsam.engine.stage import Stage
from epsam.pipeline import STAGES, recipe_stages
from epsam.weak.resnet import NetworkSpec, build_classifier
from epsam.weak.weights import save_classifier
from support.mini import FLAGS
from support.training_stages import DATASET, SAM, working_in, write_mini_dataset

MAINS = {
    "train_classifier": train_classifier,
    "generate_initial_masks": generate_initial_masks,
    "train_segmenter": train_segmenter,
    "train_box_decoder": train_box_decoder,
    "evaluate": evaluate,
    "report": report,
    "infer": infer,
}
FIT = "--workers 0 --pretrained none --encoder resnet18 --lr 1e-3"
MINI_FLAGS = {
    "train_classifier": FLAGS["CLASSIFIER_FLAGS"],
    "generate_initial_masks": FLAGS["MASK_FLAGS"],
    "train_segmenter": f"{FIT} --batch_size 4 --epoch 12",
    "train_box_decoder": "--epoch 2 --embedding_transforms 1",
}
METHODS = ("unet", "unet_pseudo", "sam_box", "medsam_box", "gradcam", "wsss_tissue")
PREDICTORS = {
    "gradcam": ("initial mask",),
    "unet_pseudo": ("unet",),
    "wsss_tissue": ("initial mask", "wsss_tissue (resnet18)"),
}
"""What evaluation scores, where that is not the method's name alone."""
WITH_SAM = ("train_box_decoder", "evaluate", "infer")

# Six methods from patches to masks: five minutes of one core.
pytestmark = [pytest.mark.slow, pytest.mark.long]


def run_stage(name, method, *flags):
    """One stage of a method as train.sh runs it, on the mini dataset of the working directory."""
    shared = [*DATASET, *(SAM if name in WITH_SAM else ())] if name != "report" else DATASET[:2]
    recipe_flags: tuple[str, ...] = () if name == "report" else ("--recipe", method)
    if name == "train_segmenter" and method == "unet_pseudo":
        recipe_flags = (*recipe_flags, "--from_run", "source")
    if method == "medsam_box" and name == "train_box_decoder":
        # Random weights of the small SAM stand in for MedSAM's, which are of a ViT-B.
        recipe_flags = (*recipe_flags, *SAM)
    words = [*shared, "--run", method, *recipe_flags, *MINI_FLAGS.get(name, "").split(), *flags]
    MAINS[name].main(parse(name, STAGES[name].load_options_class(), words))


def write_source_run(run):
    """What EP-SAM leaves after its only round: a classifier, here of random weights, and
    pseudo-labels, four of six accepted.
    """
    write_json(run / "stages" / "decoder_1.json", {"fingerprint": "", "inputs": {}})
    write_json(run / "options.json", {"decoder_1": {"n_iter": 1}})
    torch.manual_seed(0)
    classifier = build_classifier(NetworkSpec("resnet18", input_size=64))
    save_classifier(run / "resnet_adl.pth", classifier, {})
    for number in range(4):
        name = f"p{number}_1.png"
        write_mask(run / "masks/iter_1" / name, read_mask(Path("dataset/mini/train/mask") / name))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The mini dataset and SAM, with the runs of six methods beside each other."""
    folder = tmp_path_factory.mktemp("methods")
    with working_in(folder):
        write_mini_dataset()
        write_source_run(folder / "checkpoints" / "source")
        for method in METHODS:
            for stage in recipe_stages(method)[1:]:
                run_stage(stage.name, method)
            run_stage("infer", method, "--output_dir", f"out/{method}")
    return folder


def read_rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_scored_on_positives_and_on_all_patches(folder, method):
    predictors = PREDICTORS.get(method, (method,))
    rows = read_rows(folder / "checkpoints" / method / "evaluation.csv")
    assert [(row["split"], row["what"]) for row in rows] == [
        (split, what) for split in ("train", "val", "test") for what in ("fill", "all", *predictors)
    ]
    for row in rows:
        if row["what"] not in predictors:
            continue
        assert 0 <= float(row["dice"]) <= 1
        assert int(row["all_patches"]) == int(row["patches"]) + int(row["negatives"])
        assert 0 <= float(row["auroc"]) <= 1
    assert (folder / "checkpoints" / method / "report.html").is_file()
    assert (folder / "checkpoints" / method / "panels" / "test.png").is_file()


def test_the_model_card_says_what_was_learnt_from_and_where_it_started(folder):
    unet = (folder / "checkpoints/unet/model_card.md").read_text("utf-8")
    assert "trained with masks of patches (mini). Classifier: none. Segment Anything" in unet
    assert "Model: none. The masks come from: unet." in unet
    assert "* Start of the segmenter: random weights" in unet
    assert "Start of the decoder" not in unet
    pseudo = (folder / "checkpoints/unet_pseudo/model_card.md").read_text("utf-8")
    assert "labels of patches (mini). Classifier: that of the run source." in pseudo
    assert "Trained with the last accepted pseudo-labels of the run source" in pseudo
    assert "The best epoch of a decoder is chosen by masks of the validation split." in pseudo
    sam_box = (folder / "checkpoints/sam_box/model_card.md").read_text("utf-8")
    assert "Model: vit_demo. The masks come from: sam_box." in sam_box
    medsam = (folder / "checkpoints/medsam_box/model_card.md").read_text("utf-8")
    assert "The masks come from: medsam_box." in medsam
    assert "* Start of the decoder: MedSAM, Apache-2.0" in medsam
    gradcam = (folder / "checkpoints/gradcam/model_card.md").read_text("utf-8")
    assert "trained with labels of patches (mini). Classifier: resnet18." in gradcam
    assert "Segment Anything Model: none. The masks come from: initial mask." in gradcam


def test_the_u_net_learns_from_the_masks(folder):
    """Blue discs on pink, far above filling every patch: Dice of a disc of 14 of 64 px is 0.26."""
    rows = read_rows(folder / "checkpoints" / "unet" / "evaluation.csv")
    dice = {(row["split"], row["what"]): float(row["dice"]) for row in rows}
    assert dice["train", "fill"] < 0.3
    assert dice["train", "unet"] > 0.6


def test_wsss_tissue_learns_from_masks_of_three_layers_and_is_gated_by_its_classifier(folder):
    run = folder / "checkpoints/wsss_tissue"
    for number in (1, 2, 3):
        assert len(list((run / "masks/layers" / f"layer_{number}").glob("*.png"))) == 6
    content = torch.load(run / "segmenter.pth", weights_only=True)
    assert content["wsss_tissue"] == {
        "trunk": "resnet18",
        "input_size": 224,
        "labels": "both",
    }
    classifier = torch.load(run / "resnet_adl.pth", weights_only=True)["model"]
    assert torch.equal(content["model"]["classifier.fc8.weight"], classifier["fc8.weight"])
    card = (run / "model_card.md").read_text("utf-8")
    assert "trained with labels of patches (mini)" in card
    assert "The masks come from: wsss_tissue (resnet18)." in card


@pytest.mark.parametrize("method", METHODS)
def test_inference_segments_as_evaluation_scored(folder, method):
    rows = read_rows(folder / "out" / method / "metrics.csv")
    assert [row["status"] for row in rows] == ["done"] * 3
    run = folder / "checkpoints" / method
    scored = {
        row["id"]: float(row["dice"])
        for row in read_rows(run / "evaluation_patches.csv")
        if row["split"] == "test" and row["what"] not in ("fill", "all")
    }
    # Positives whose name says so are segmented whatever the gate says of them.
    inferred = {}
    for row in rows:
        if row["label"] == "1":
            inferred[row["image"].removesuffix(".png")] = float(row["dice"])
    assert inferred == pytest.approx(scored, abs=0.02)


def test_pseudo_labels_come_with_the_classifier_that_gates_their_segmenter(folder):
    run = folder / "checkpoints/unet_pseudo"
    source = folder / "checkpoints/source/resnet_adl.pth"
    assert (run / "gate_classifier.pth").read_bytes() == source.read_bytes()
    evaluated = {}
    for row in read_rows(run / "evaluation_classifier.csv"):
        if row["split"] == "test":
            evaluated[f"{row['id']}.png"] = float(row["probability"])
    inferred = {}
    for row in read_rows(folder / "out/unet_pseudo/metrics.csv"):
        # A patch that is labelled normal gets an empty mask without the classifier.
        if not row["image"].endswith("_0.png"):
            inferred[row["image"]] = float(row["probability"])
    expected = {name: evaluated[name] for name in inferred}
    assert len(inferred) == 2
    assert inferred == pytest.approx(expected, abs=1e-4)


def test_masks_of_maps_are_the_initial_masks(folder):
    for path in sorted((folder / "checkpoints/gradcam/masks/initial/test").glob("*.png")):
        assert np.array_equal(read_mask(path), read_mask(folder / "out/gradcam/mask" / path.name))


def test_a_finished_method_has_nothing_to_do(folder, monkeypatch):
    def refuse(stage):
        raise AssertionError(f"{stage.name} begins again")

    monkeypatch.setattr(Stage, "begin", refuse)
    with working_in(folder):
        run_stage("train_segmenter", "unet")
        run_stage("train_segmenter", "unet_pseudo")
        for name in ("train_classifier", "generate_initial_masks", "train_segmenter"):
            run_stage(name, "wsss_tissue")
        run_stage("train_box_decoder", "sam_box")
        run_stage("train_box_decoder", "medsam_box")


def test_medsam_has_pixels_of_its_own_in_training_and_afterwards(folder):
    content = torch.load(folder / "checkpoints/medsam_box/segmenter.pth", weights_only=True)
    assert content["segmenter"] == "medsam_box"
    assert content["made_with"]["pixels"] == "minmax"
    # Embeddings of the same weights and of other pixels are not mixed.
    names = {path.name for path in (folder / "dataset/mini/embeddings").iterdir()}
    assert {name.endswith("-minmax") for name in names} == {True, False}


def test_without_medsams_file_one_line_says_where_it_comes_from_and_goes(folder):
    with (
        working_in(folder),
        pytest.raises(WeightsError, match=r"^checkpoints/medsam_vit_b.pth: MedSAM's weights are"),
    ):
        train_box_decoder.main(
            parse(
                "train_box_decoder",
                STAGES["train_box_decoder"].load_options_class(),
                [*DATASET, "--run", "other", "--recipe", "medsam_box"],
            )
        )


def test_the_decoder_of_another_sam_is_refused(folder):
    sam = torch.load(folder / "random_sam.pth", weights_only=True)
    torch.save({key: tensor * 1.01 for key, tensor in sam.items()}, folder / "other_sam.pth")
    with (
        working_in(folder),
        pytest.raises(WeightsError, match="trained with other weights of vit_demo than other_sam"),
    ):
        run_stage("evaluate", "sam_box", "--sam_checkpoint", "other_sam.pth")


def test_maps_need_initial_masks(folder):
    with (
        working_in(folder),
        pytest.raises(WeightsError, match="so the run has no initial masks; run generate_initial"),
    ):
        run_stage("infer", "unet", "--segment_by", "maps", "--output_dir", "out/none")


@pytest.mark.parametrize("method", ["unet", "sam_box"])
def test_a_method_without_masks_ends_at_the_check(folder, tmp_path, method, monkeypatch):
    for split in ("train", "val", "test"):
        target = tmp_path / "dataset" / "mini" / split / "image"
        target.mkdir(parents=True)
        for path in (folder / "dataset" / "mini" / split / "image").iterdir():
            (target / path.name).write_bytes(path.read_bytes())
    (tmp_path / "random_sam.pth").write_bytes((folder / "random_sam.pth").read_bytes())
    segmenter = "--targets ground_truth --pretrained none"
    flags = ["--recipe", method, *DATASET, *SAM, f"--segmenter_flags={segmenter}"]
    with working_in(tmp_path), pytest.raises(PreflightError, match="2 problems.*learns from masks"):
        check.main(parse("check", CheckOptions, flags))
