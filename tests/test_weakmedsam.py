"""WeakMedSAM from the mini dataset to evaluation and inference."""

import csv

import pytest
import torch

import evaluate
import generate_initial_masks
import infer
import report
import train_classifier
import train_segmenter
from epsam.api import load_run
from epsam.config.command_line import parse
from epsam.core.files import read_json
from epsam.data.images import read_mask, read_rgb
from epsam.engine.stage import Stage
from epsam.pipeline import STAGES, recipe_stages
from support.training_stages import DATASET, SAM, working_in, write_mini_dataset

METHOD = "weakmedsam"
MAINS = {
    "train_classifier": train_classifier,
    "generate_initial_masks": generate_initial_masks,
    "train_segmenter": train_segmenter,
    "evaluate": evaluate,
    "report": report,
    "infer": infer,
}
MAP_SAM = "--map_sam vit_demo --map_sam_checkpoint random_sam.pth"
FIT = "--workers 0 --batch_size 4 --lr 1e-3"
MINI_FLAGS = {
    "train_classifier": f"{FIT} {MAP_SAM} --epoch 3 --input_size 64 --subclasses 2",
    "generate_initial_masks": f"{MAP_SAM} --pam_grid 2 --allow_degenerate",
    "train_segmenter": f"{FIT} --pretrained none --encoder resnet18 --epoch 2",
}

pytestmark = [pytest.mark.slow, pytest.mark.long]


def run_stage(name, *flags):
    shared = [*DATASET, *(SAM if name in ("evaluate", "infer") else ())]
    words = [*(shared if name != "report" else DATASET[:2]), "--run", METHOD]
    words += [*MINI_FLAGS.get(name, "").split(), *flags]
    if name != "report":
        words += ["--recipe", METHOD]
    MAINS[name].main(parse(name, STAGES[name].load_options_class(), words))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weakmedsam")
    with working_in(folder):
        write_mini_dataset()
        for stage in recipe_stages(METHOD)[1:]:
            run_stage(stage.name)
        run_stage("infer", "--output_dir", "out")
    return folder


def read_rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_masks_along_sams_affinities_and_the_u_net_are_scored_beside_each_other(folder):
    run = folder / "checkpoints" / METHOD
    rows = read_rows(run / "evaluation.csv")
    scored = {(row["split"], row["what"]) for row in rows}
    assert scored == {
        (split, what)
        for split in ("train", "val", "test")
        for what in ("fill", "all", "initial mask", "unet")
    }
    assert (run / "report.html").is_file()
    card = (run / "model_card.md").read_text("utf-8")
    assert "trained with labels of patches (mini). Classifier: sam_encoder." in card
    assert "* Start of the classifier: random_sam.pth; its terms are not known here." in card


def test_the_run_holds_its_subclasses_its_rule_and_the_maps_before_the_walk(folder):
    run = folder / "checkpoints" / METHOD
    table = read_rows(run / "subclasses.csv")
    assert len(table) == 6
    assert {row["subclass"] for row in table} == {"1", "2"}
    rule = read_json(run / "masks" / "initial" / "rule.json")
    assert (rule["refiner"], rule["map_sam"]) == ("pam", "vit_demo")
    assert len(rule["refiner_sam_sha256"]) == 64
    for split in ("train", "val", "test"):
        assert (run / "activation" / "base" / f"{split}.npz").is_file()
    stages = read_json(run / "options.json")
    assert stages["train_classifier"]["weak_model"] == "sam_encoder"


def test_inference_segments_as_evaluation_scored(folder):
    rows = read_rows(folder / "out" / "metrics.csv")
    assert [row["status"] for row in rows] == ["done"] * 3
    scored = {}
    for row in read_rows(folder / "checkpoints" / METHOD / "evaluation_patches.csv"):
        if row["split"] == "test" and row["what"] == "unet":
            scored[row["id"]] = float(row["dice"])
    inferred = {}
    for row in rows:
        if row["label"] == "1":
            inferred[row["image"].removesuffix(".png")] = float(row["dice"])
    assert inferred == pytest.approx(scored, abs=0.02)


def test_the_maps_alone_segment_as_they_were_made_in_training(folder):
    initial = folder / "checkpoints" / METHOD / "masks" / "initial" / "test"
    with working_in(folder):
        run_stage("infer", "--segment_by", "maps", "--output_dir", "maps", "--no-classifier_gate")
        image = folder / "dataset" / "mini" / "test" / "image" / "p0_1.png"
        cam = load_run(f"checkpoints/{METHOD}").cam(read_rgb(image))
    for path in sorted(initial.glob("*.png")):
        # Tiles of a batch round in another way than the patches of a split.
        differing = read_mask(path) != read_mask(folder / "maps" / "mask" / path.name)
        assert differing.mean() < 0.01
    assert (cam.mask != read_mask(initial / "p0_1.png")).mean() < 0.01


def test_a_finished_run_has_nothing_to_do_and_another_sam_is_a_change(folder, monkeypatch):
    def refuse(stage):
        raise AssertionError(f"{stage.name} begins again")

    monkeypatch.setattr(Stage, "begin", refuse)
    with working_in(folder):
        for stage in recipe_stages(METHOD)[1:]:
            run_stage(stage.name)
        sam = torch.load("random_sam.pth", weights_only=True)
        torch.save({key: tensor * 1.01 for key, tensor in sam.items()}, "other_sam.pth")
        for name in ("train_classifier", "generate_initial_masks"):
            with pytest.raises(AssertionError, match=f"{name} begins again"):
                run_stage(name, "--map_sam_checkpoint", "other_sam.pth")
