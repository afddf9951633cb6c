"""The scripts as a user runs them, on a dataset of a few tiny patches."""

import json
import shutil
import signal

import numpy as np
import pytest

import infer
import report
from epsam.config.inference import InferOptions
from epsam.config.report import ReportOptions
from epsam.core.errors import EpsamError
from epsam.data.images import read_mask, read_rgb, write_rgb
from epsam.stage_files import list_outputs
from support.kill_train import differing, fingerprints, finish, prepare_clone
from support.mini import FLAGS, SIDE, clone, run, start, write_patches
from support.self_stop import let_fit_stop_itself, stop_by
from support.tables import read_rows

pytestmark = pytest.mark.slow

FLAGS_OF_RUN = {
    "dataset_type": "mini",
    "run": "mini",
    "device": "cpu",
    "sam_model_type": "vit_demo",
    "sam_checkpoint": "random_sam.pth",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = clone(tmp_path_factory.mktemp("clone"))
    result = run(folder, "./train.sh")
    assert result.returncode == 0, result.stdout + result.stderr
    return folder, result.stdout


@pytest.fixture(scope="module")
def quiet(trained):
    """Digests of what the run left, before anything else is done in its folder."""
    return fingerprints(trained[0])


@pytest.mark.long
def test_a_run_that_was_stopped_and_killed_leaves_the_same_files(quiet, tmp_path):
    # kill_train.py kills at thirty random moments; test_traps.py at the ones that are known to be
    # dangerous.
    stopped = prepare_clone(tmp_path / "stopped", write_patches)
    let_fit_stop_itself(stopped)
    unfinished = stopped / "checkpoints" / "mini" / "unfinished" / "train_classifier"

    # The classifier has fifteen steps.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        process = start(stopped, "./train.sh", **stop_by(number))
        output, _ = process.communicate()
        assert list(unfinished.glob("*.pth")), output
        if number != signal.SIGKILL:
            assert process.returncode == 130, output
            assert output.splitlines()[-1] == "interrupted; run the same command again to go on"

    finish(stopped, {})
    assert differing(quiet, fingerprints(stopped)) == []


def test_training_leaves_every_file_of_the_contract(trained):
    run_folder = trained[0] / "checkpoints" / "mini"
    for name in (
        "resnet_adl.pth",
        "sam_pre_decoder.pth",
        "decoder_iter1.pth",
        "decoder_iter2.pth",
        "options.json",
        "metrics.csv",
        "pseudo_labels.csv",
        "evaluation.csv",
        "panels/test.png",
        "panels/decoder_2.png",
        "panels/cases.png",
        "evaluation_patches.csv",
        "evaluation_classifier.csv",
        "model_card.md",
        "report.html",
    ):
        assert (run_folder / name).is_file(), name
    assert len(list((run_folder / "masks" / "initial" / "train").iterdir())) == 6
    assert len(list((run_folder / "masks" / "iter_0").iterdir())) == 6
    assert len(list((run_folder / "curves").iterdir())) >= 4


def test_the_log_holds_what_was_printed(trained):
    folder, printed = trained
    assert (folder / "logging_mini.txt").read_text() == printed
    assert "round 2: 6 masks to fit to" in printed
    assert "%|" not in printed, "progress bars belong on a terminal only"


def test_evaluation_scores_every_mask_maker_on_every_split(trained):
    rows = read_rows(trained[0] / "checkpoints" / "mini" / "evaluation.csv")
    whats = [
        "fill",
        "all",
        "initial mask",
        "zero-shot SAM",
        "preliminary decoder",
        "round 1",
        "round 2",
    ]
    assert [(r["split"], r["what"]) for r in rows] == [
        (s, w) for s in ("train", "val", "test") for w in whats
    ]
    assert all(0 <= float(r["iou"]) <= float(r["dice"]) <= 1 for r in rows)
    counts = {row["split"]: (row["patches"], row["negatives"]) for row in rows}
    assert counts == {"train": ("6", "4"), "val": ("3", "2"), "test": ("2", "1")}
    for row in rows:
        assert 0 <= float(row["all_iou"]) <= float(row["pooled_iou"])
        assert row["what"] in ("fill", "all") or 0 <= float(row["auroc"]) <= 1


def test_evaluation_lists_the_classifiers_probability_of_every_patch(trained):
    rows = read_rows(trained[0] / "checkpoints" / "mini" / "evaluation_classifier.csv")
    assert len(rows) == 10 + 5 + 3
    assert {row["label"] for row in rows if row["id"].endswith("_0")} == {"0"}
    assert all(0 <= float(row["probability"]) <= 1 for row in rows)


def test_the_frozen_parts_of_sam_are_not_in_the_decoders_file_and_did_not_learn(trained):
    import torch

    content = torch.load(trained[0] / "checkpoints/mini/decoder_iter2.pth", weights_only=True)
    start = torch.load(trained[0] / "random_sam.pth", weights_only=True)
    assert all(key.startswith("mask_decoder.") for key in content["model"])
    assert not torch.equal(
        content["model"]["mask_decoder.mask_tokens.weight"],
        start["mask_decoder.mask_tokens.weight"],
    )


def test_outputs_of_completion_records_are_those_of_the_list_of_stages(trained):
    run_folder = trained[0] / "checkpoints" / "mini"
    for record in sorted((run_folder / "stages").glob("*.json")):
        listed = list_outputs(run_folder, record.stem)
        outputs = [run_folder / name for name in json.loads(record.read_text())["outputs"]]
        assert outputs, record.stem
        for output in outputs:
            assert {output, *output.parents} & set(listed), output


def test_a_second_run_finds_every_stage_finished(trained):
    folder, _ = trained
    run_folder = folder / "checkpoints" / "mini"
    before = {path: path.stat().st_mtime_ns for path in run_folder.rglob("*") if path.is_file()}
    again = run(folder, "./train.sh")
    assert again.returncode == 0, again.stderr
    finished = [line.split(":")[0] for line in again.stdout.splitlines() if "done already" in line]
    rounds = ["decoder_0", "decoder_1", "decoder_2"]
    assert finished == [
        "train_classifier",
        "generate_initial_masks",
        *rounds,
        "evaluate",
        "report",
    ]
    del before[run_folder / ".lock"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.long
def test_changed_scores_are_evaluated_and_reported_again(trained, monkeypatch):
    monkeypatch.chdir(trained[0])
    run_folder = trained[0] / "checkpoints" / "changed"
    shutil.copytree(trained[0] / "checkpoints" / "mini", run_folder)
    table_file = run_folder / "evaluation.csv"
    scores = table_file.read_bytes()
    table_file.write_bytes(scores.replace(b"test", b"rest"))
    options = {"dataset_type": "mini", "run": "changed"}
    report.main(ReportOptions(**options))
    assert b"rest" in (run_folder / "report.html").read_bytes()
    assert json.loads((run_folder / "record.json").read_text())["report"]["inputs"]

    # Not in a process that has imported PyTorch already: what the user runs.
    evaluated = run(
        trained[0],
        "python src/evaluate.py --run changed --dataset_type mini --device cpu "
        "--sam_model_type vit_demo --sam_checkpoint random_sam.pth",
    )
    assert evaluated.returncode == 0, evaluated.stderr
    assert "evaluate: done again: evaluation.csv" in evaluated.stdout
    assert table_file.read_bytes() == scores


@pytest.mark.long
def test_one_changed_flag_redoes_its_stage_and_none_to_its_left(trained):
    folder, _ = trained
    other = shutil.copytree(folder / "checkpoints" / "mini", folder / "checkpoints" / "other")
    weights = ("resnet_adl.pth", "sam_pre_decoder.pth", "decoder_iter1.pth")
    before = [(other / name).read_bytes() for name in weights]
    flags = FLAGS["RETRAIN_FLAGS"].replace("--n_iter 2", "--n_iter 1") + " --lr 1e-3"
    refused = run(folder, "./train.sh", RUN="other", RETRAIN_FLAGS=flags)
    assert refused.returncode == 1
    assert refused.stdout.splitlines()[-1].startswith("error: ")
    assert [(other / name).read_bytes() for name in weights] == before
    changed = run(folder, "./train.sh", RUN="other", RETRAIN_FLAGS=flags, REPLACE="1")
    assert changed.returncode == 0, changed.stderr
    skipped = [line.split(":")[0] for line in changed.stdout.splitlines() if "done already" in line]
    assert skipped == ["train_classifier", "generate_initial_masks", "decoder_0"]
    same = [(other / name).read_bytes() == old for name, old in zip(weights, before, strict=True)]
    assert same == [True, True, False]
    assert "0 encoded now" in changed.stdout, "embeddings are shared by all runs"
    assert {row["what"] for row in read_rows(other / "evaluation.csv")}.isdisjoint({"round 2"})


def test_inference_writes_masks_overlays_and_figures(trained):
    folder, _ = trained
    # Which SAM it was trained with is said by the decoder's file.
    result = run(folder, "./infer.sh", SAM_MODEL_TYPE="")
    assert result.returncode == 0, result.stdout + result.stderr
    output = folder / "infer_output" / "mini"
    rows = {row["image"]: row for row in read_rows(output / "metrics.csv")}
    figures = json.loads((output / "summary.json").read_text())
    assert set(rows) == {"p0_1.png", "p1_1.png", "p2_0.png"}
    assert (figures["images"], figures["scored"], figures["failed"]) == (3, 2, 0)
    mean = np.mean([float(rows[n]["dice"]) for n in ("p0_1.png", "p1_1.png")])
    assert figures["mean_dice"] == pytest.approx(mean, abs=1e-5)
    assert not read_mask(output / "mask" / "p2_0.png").any()
    assert "Dice of single images" in (output / "report.html").read_text("utf-8")
    assert read_rgb(output / "overlay" / "p0_1.png").shape == (SIDE, SIDE, 3)


def test_evaluation_and_inference_give_a_patch_the_same_mask(trained):
    folder, _ = trained
    rows = read_rows(folder / "infer_output" / "mini" / "metrics.csv")
    inferred = {row["image"]: row["dice"] for row in rows if row["label"] == "1"}
    assert len(inferred) == 2

    scores = read_rows(folder / "checkpoints" / "mini" / "evaluation_patches.csv")
    evaluated = {}
    for row in scores:
        if (row["split"], row["what"]) == ("test", "round 2"):
            evaluated[f"{row['id']}.png"] = row["dice"]
    assert {name: float(dice) for name, dice in inferred.items()} == pytest.approx(
        {name: float(dice) for name, dice in evaluated.items()}, abs=1e-6
    )


def test_an_output_folder_that_is_the_input_is_refused_and_nothing_is_overwritten(trained):
    folder, _ = trained
    truth = {path: path.read_bytes() for path in (folder / "dataset/mini/test").rglob("*.png")}
    result = run(folder, "./infer.sh", OUTPUT_DIR="dataset/mini/../mini/test")
    last = (result.stdout + result.stderr).splitlines()[-1]
    assert (result.returncode, "is the input" in last) == (1, True)
    after = {path: path.read_bytes() for path in (folder / "dataset/mini/test").rglob("*.png")}
    assert after == truth


def test_images_without_label_or_truth_of_any_size_are_taken(trained):
    folder, _ = trained
    rng = np.random.default_rng(0)
    for name, shape in (
        ("wide image.png", (70, 150)),
        ("tiny-ö.png", (20, 31)),
        ("-dash.png", (64, 64)),
    ):
        write_rgb(folder / "plain" / name, rng.integers(0, 255, (*shape, 3), np.uint8))
    (folder / "plain" / "broken.png").write_bytes(b"no image")
    result = run(
        folder,
        "./infer.sh",
        TEST_DATASET_DIR="plain",
        OUTPUT_DIR="out",
        INFER_FLAGS="--no-classifier_gate",
    )
    assert result.returncode == 0, result.stdout + result.stderr
    rows = {row["image"]: row for row in read_rows(folder / "out" / "metrics.csv")}
    assert rows["broken.png"]["status"] == "failed"
    assert "not a readable" in rows["broken.png"]["reason"]
    assert int(rows["wide image.png"]["windows"]) == 6
    assert read_mask(folder / "out" / "mask" / "wide image.png").shape == (70, 150)
    assert read_mask(folder / "out" / "mask" / "tiny-ö.png").shape == (20, 31)
    assert json.loads((folder / "out" / "summary.json").read_text())["mean_dice"] is None


def test_a_shut_gate_leaves_images_without_a_label_empty(trained, monkeypatch):
    folder, _ = trained
    monkeypatch.chdir(folder)
    write_rgb(folder / "gate" / "a.png", np.full((SIDE, SIDE, 3), 200, np.uint8))
    infer.main(
        InferOptions(
            **FLAGS_OF_RUN, test_dataset_dir="gate", output_dir="gated", gate_threshold=1.1
        )
    )
    row = read_rows(folder / "gated" / "metrics.csv")[0]
    assert (row["gated"], row["tumour_share"]) == ("1", "0.0")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"test_dataset_dir": "nowhere"}, "nowhere: no such folder"),
        ({"run": "never"}, "checkpoints/never: no trained decoder there"),
        ({"sam_decoder_checkpoint": "random_sam.txt"}, "random_sam.txt: no such file"),
        (
            {"sam_decoder_checkpoint": "checkpoints/mini/resnet_adl.pth"},
            "do not fit SAM's mask decoder",
        ),
    ],
)
def test_inference_without_what_it_needs_is_refused(trained, monkeypatch, flags, message):
    monkeypatch.chdir(trained[0])
    with pytest.raises(EpsamError, match=message):
        infer.main(InferOptions(**{**FLAGS_OF_RUN, "output_dir": "refused", **flags}))


@pytest.mark.parametrize(
    ("command", "environment", "message"),
    [
        ("./infer.sh", {"DEVICE": "cuda"}, "--device cuda: PyTorch finds no usable GPU"),
        ("./train.sh", {"DATASET_TYPE": "absent"}, "error: "),
    ],
)
def test_bad_input_is_one_line_and_exit_1(trained, command, environment, message):
    import torch

    if environment.get("DEVICE") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    result = run(trained[0], command, **environment)
    last = (result.stdout + result.stderr).strip().splitlines()[-1]
    assert result.returncode == 1
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in result.stdout + result.stderr


def test_bad_flags_end_with_2(trained):
    result = run(trained[0], "python src/extract_patches.py --strid 128")
    assert (result.returncode, "unrecognized arguments: --strid 128" in result.stderr) == (2, True)
