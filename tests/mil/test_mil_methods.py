"""DWS-, SA- and Swin-MIL, each from the mini dataset to scores and segmented images."""

import csv

import numpy as np
import pytest
import torch

import evaluate
import generate_initial_masks
import infer
import report
import train_classifier
from epsam.config.command_line import parse
from epsam.core.files import read_json
from epsam.data.images import read_mask
from epsam.engine.stage import Stage
from epsam.pipeline import RECIPES, STAGES
from support.mini import FLAGS
from support.training_stages import DATASET, working_in, write_mini_dataset

METHODS = ("dws_mil", "sa_mil", "swin_mil")
# Patches of 64 px at half their size: three networks in a few seconds.
FIT = f"{FLAGS['CLASSIFIER_FLAGS']} --input_size 32 --side_lr_factor 1 --epoch 4"
MAINS = {
    "train_classifier": (train_classifier, FIT),
    "generate_initial_masks": (generate_initial_masks, FLAGS["MASK_FLAGS"]),
    "evaluate": (evaluate, ""),
    "report": (report, ""),
    "infer": (infer, ""),
}
"""Stage → its script, and its flags on the mini dataset."""

pytestmark = [pytest.mark.slow, pytest.mark.long]


def run_stage(name, method, *flags):
    """One stage of a method as train.sh runs it, on the mini dataset of the working directory."""
    script, mini_flags = MAINS[name]
    words = [*DATASET[:2], "--run", method]
    if name != "report":
        words += [*DATASET[2:], "--recipe", method]
    words += [*mini_flags.split(), *flags]
    script.main(parse(name, STAGES[name].load_options_class(), words))


def read_rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mil")
    with working_in(folder):
        write_mini_dataset()
        for method in METHODS:
            for name in RECIPES[method][1:]:
                run_stage(name, method)
            run_stage("infer", method, "--output_dir", f"out/{method}")
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_scored_on_positives_and_on_all_patches(folder, method):
    run = folder / "checkpoints" / method
    rows = read_rows(run / "evaluation.csv")
    assert [(row["split"], row["what"]) for row in rows] == [
        (split, what)
        for split in ("train", "val", "test")
        for what in ("fill", "all", "initial mask")
    ]
    for row in rows[2::3]:
        assert 0 <= float(row["dice"]) <= 1
        assert int(row["all_patches"]) == int(row["patches"]) + int(row["negatives"])
        # The gate is the generalised mean of the fused map.
        assert 0 <= float(row["auroc"]) <= 1
    assert (run / "report.html").is_file()
    assert f"Classifier: {method}." in (run / "model_card.md").read_text("utf-8")


@pytest.mark.parametrize("method", METHODS)
def test_it_learns_from_labels_which_patches_have_tumour(folder, method):
    rows = read_rows(folder / "checkpoints" / method / "evaluation_classifier.csv")
    probabilities = {"0": [], "1": []}
    for row in rows:
        if row["split"] == "train":
            probabilities[row["label"]].append(float(row["probability"]))
    assert np.mean(probabilities["1"]) > np.mean(probabilities["0"])


@pytest.mark.parametrize("method", METHODS)
def test_the_map_is_a_probability_in_masks_and_in_inference(folder, method):
    run = folder / "checkpoints" / method
    rule = read_json(run / "masks" / "initial" / "rule.json")
    assert (rule["refiner"], rule["postprocess"]) == ("unscaled", "probability")
    maps = np.load(run / "activation" / "train.npz")["maps"]
    assert maps.shape[1:] == (32, 32)
    assert maps.max() < 1
    # Those of one map differ in their maximum: none is scaled to 1.
    assert len(np.unique(maps.max(axis=(1, 2)))) > 1

    for path in sorted((run / "masks/initial/test").glob("*.png")):
        segmented = read_mask(folder / "out" / method / "mask" / path.name)
        assert np.mean(segmented != read_mask(path)) < 0.01


@pytest.mark.parametrize("method", METHODS)
def test_inference_scores_patches_as_evaluation_does(folder, method):
    images = read_rows(folder / "out" / method / "metrics.csv")
    assert [row["status"] for row in images] == ["done"] * 3
    scored = {}
    for row in read_rows(folder / "checkpoints" / method / "evaluation_patches.csv"):
        if row["split"] == "test" and row["what"] == "initial mask":
            scored[row["id"]] = float(row["dice"])
    for row in images:
        if row["label"] == "1":
            name = row["image"].removesuffix(".png")
            assert float(row["dice"]) == pytest.approx(scored[name], abs=0.02)


def test_inputs_are_normalised_by_the_training_patches(folder):
    content = torch.load(folder / "checkpoints/dws_mil/resnet_adl.pth", weights_only=True)
    mean = content["model"]["mean"].flatten()
    # Pink patches of (230, 170, 200) with blue discs.
    assert 0.7 < mean[0] < 0.9
    assert mean[1] < mean[2] < mean[0]


def test_a_finished_method_has_nothing_to_do(folder, monkeypatch):
    def refuse(stage):
        raise AssertionError(f"{stage.name} begins again")

    monkeypatch.setattr(Stage, "begin", refuse)
    with working_in(folder):
        run_stage("train_classifier", "dws_mil")
        run_stage("generate_initial_masks", "dws_mil")
