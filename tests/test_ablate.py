"""Five rows on a few tiny patches, one of them with two seeds: what runs reuse, what they record,
what the tables say.
"""

import dataclasses
import json
import os
import shlex
from pathlib import Path

import pytest
import torch

import ablate
import evaluate
import finetune_decoder
import generate_initial_masks
import retrain_decoder
import train_classifier
from compare import main as compare
from compare import runs_to_flag
from epsam.ablation import run_plans
from epsam.config.ablation import AblateOptions, CompareOptions
from epsam.config.command_line import parse
from epsam.core.errors import EpsamError, PreflightError
from epsam.engine.stage import Stage
from support.holder import holding
from support.mini import FLAGS, REPOSITORY, smaller_sam, write_patches, write_random_sam
from support.tables import read_rows

ROWS = """
paper                                              # the reference
raw      UNTIL=masks MASK_FLAGS="--rotations 1 --postprocess none"
upper    UNTIL=masks MASK_FLAGS="--quantile 0.8"
accumulate  RETRAIN_FLAGS="--pl_mode accumulate"
ours     DECODER_FLAGS="--n_sample 2 --prompt box_pepm --n_region 2 --n_negative 2 --mask_prompt \
         --train_prompt same --soft_targets --normal_patches 0.3"
"""
RUN = "checkpoints/ablation/{}/seed_{}"


def options(**values):
    return AblateOptions(
        dataset_type="mini",
        common_flags="--device cpu",
        classifier_flags=FLAGS["CLASSIFIER_FLAGS"],
        mask_flags=FLAGS["MASK_FLAGS"],
        decoder_flags=FLAGS["DECODER_FLAGS"],
        retrain_flags=f"{FLAGS['RETRAIN_FLAGS']} --n_iter 1",
        sam_flags=f"--sam_model_type vit_demo --sam_checkpoint {FLAGS['SAM_CHECKPOINT']}",
        **{"rows": ROWS, "seeds": (22, 23), **values},
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder, before = tmp_path_factory.mktemp("ablation"), os.getcwd()
    os.chdir(folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    write_patches(folder / "dataset" / "mini")
    with smaller_sam():
        write_random_sam(folder / "random_sam.pth")
        ablate.main(options(seeds=(22,)))
        ablate.main(options(only=("paper",)))
        yield folder
    torch.set_num_threads(threads)
    os.chdir(before)


def same_file(folder, path, first, second, seed=22):
    return (folder / RUN.format(first, seed) / path).samefile(
        folder / RUN.format(second, seed) / path
    )


@pytest.mark.slow
@pytest.mark.long
def test_equal_work_is_done_once(done):
    for row in ("raw", "upper", "accumulate"):
        assert same_file(done, "resnet_adl.pth", "paper", row)
    assert same_file(done, "sam_pre_decoder.pth", "paper", "accumulate")
    assert same_file(done, "masks/iter_0/p0_1.png", "paper", "accumulate")
    assert not same_file(done, "decoder_iter1.pth", "paper", "accumulate")
    assert not (done / RUN.format("raw", 22) / "sam_pre_decoder.pth").exists()
    weights = [
        torch.load(done / RUN.format("paper", seed) / "resnet_adl.pth", weights_only=True)["model"]
        for seed in (22, 23)
    ]
    assert not torch.equal(weights[0]["fc.weight"], weights[1]["fc.weight"])


@pytest.mark.slow
@pytest.mark.long
def test_the_options_beyond_the_paper_run_together(done):
    run = done / RUN.format("ours", 22)
    options = json.loads((run / "options.json").read_text("utf-8"))
    assert options["decoder_1"]["normal_patches"] == 0.3
    assert len(list((run / "masks/initial/normal").iterdir())) == 4
    for number in range(2):
        masks = {path.name for path in (run / f"masks/iter_{number}").glob("*.png")}
        assert (
            masks
            == {path.name for path in (run / f"masks/iter_{number}/probability").iterdir()}
            != set()
        )
    metadata = torch.load(run / "sam_pre_decoder.pth", weights_only=True)["made_with"]
    keys = ("prompt", "n_region", "mask_prompt", "n_draw")
    assert tuple(metadata[key] for key in keys) == (
        "box_pepm",
        2,
        True,
        2,
    )


@pytest.mark.slow
@pytest.mark.long
def test_reused_stages_are_recorded_as_if_they_had_run(done):
    run = done / RUN.format("accumulate", 22)
    stages = {row["stage"] for row in read_rows(run / "metrics.csv")}
    assert stages == {"classifier", "decoder_0", "decoder_1"}
    assert {row["round"] for row in read_rows(run / "pseudo_labels.csv")} == {"0", "1"}


@pytest.mark.slow
@pytest.mark.long
def test_tables_hold_the_means_of_the_runs_beside_the_papers_scores(done):
    rows = {row["line"]: row for row in read_rows(done / "checkpoints/ablation/tables/table_5.csv")}
    values = [
        float(r["dice"])
        for seed in (22, 23)
        for r in read_rows(done / RUN.format("paper", seed) / "evaluation.csv")
        if (r["split"], r["what"]) == ("train", "round 1")
    ]
    assert float(rows["round 1"]["dice"]) == pytest.approx(100 * sum(values) / 2, abs=1e-3)
    assert rows["round 1"]["seeds"] == "2"
    assert rows["round 1"]["paper_camelyon17"] == "82.16"
    assert rows["round 3"]["dice"] == "nan"
    lines = {
        end: [
            row["line"]
            for row in read_rows(done / f"checkpoints/ablation/tables/table_other_{end}.csv")
        ]
        for end in ("initial_mask", "last_round")
    }
    assert lines == {
        "initial_mask": ["paper", "upper"],
        "last_round": ["paper", "accumulate", "ours"],
    }
    text = (done / "checkpoints/ablation/tables/tables.md").read_text()
    assert "| train | 6 | 4 |" not in text
    assert "| train | – | 6 | 4 | 6020 | 3111 |" in text
    assert all(f"### Table {number}" in text for number in range(1, 7))


@pytest.mark.slow
@pytest.mark.long
def test_running_again_runs_new_rows_alone(done, monkeypatch):
    called = []
    for module in (train_classifier, finetune_decoder, retrain_decoder):
        monkeypatch.setattr(
            module, "main", lambda options, name=module.__name__: called.append(name)
        )
    ablate.main(options(only=("paper",)))
    ablate.main(options(seeds=(22,)))
    assert called == []
    more = options(seeds=(22,))
    ablate.main(
        dataclasses.replace(more, rows=f'{ROWS}\nnew UNTIL=masks MASK_FLAGS="--quantile 0.5"')
    )
    assert called == ["train_classifier"], "which then sees that the classifier is there"
    assert same_file(done, "resnet_adl.pth", "paper", "new")


@pytest.mark.slow
@pytest.mark.long
def test_runs_are_compared_side_by_side(done, tmp_path):
    runs = tuple(f"ablation/{row}/seed_22" for row in ("paper", "upper"))
    compare(CompareOptions(runs=runs, output_dir=str(tmp_path / "compared")))
    text = (tmp_path / "compared" / "compare.md").read_text()
    assert "| generate_initial_masks.quantile | 0.3 | 0.8 |" in text
    assert "open_kernel" not in text
    records = {
        (row["masks"], row["run"]): row for row in read_rows(tmp_path / "compared" / "compare.csv")
    }
    first, second = (records["initial mask", run] for run in runs)
    assert float(second["difference"]) == pytest.approx(
        float(second["dice"]) - float(first["dice"]), abs=1e-3
    )
    with pytest.raises(EpsamError, match="two or more"):
        compare(CompareOptions(runs=runs[:1]))


METHOD_ROWS = """
paper
unet         METHOD=unet
same         METHOD=unet
sam_box      METHOD=sam_box
unet_pseudo  METHOD=unet_pseudo FROM=paper
medsam_box   METHOD=medsam_box
"""


@pytest.mark.slow
@pytest.mark.long
def test_other_methods_run_as_rows_share_stages_and_take_pseudo_labels(done, caplog):
    # One round on six patches leaves full masks.
    segmenter = "--encoder resnet18 --pretrained none --workers 0 --epoch 1 --batch_size 4"
    rows = dataclasses.replace(
        options(seeds=(22,)),
        rows=METHOD_ROWS,
        segmenter_flags=f"{segmenter} --allow_degenerate",
        box_flags="--epoch 1 --embedding_transforms 1 --batch_size 4",
    )
    with smaller_sam():
        ablate.main(rows)
    runs = {row: done / RUN.format(row, 22) for row in ("unet", "same", "sam_box", "unet_pseudo")}
    assert all((run / "segmenter.pth").is_file() for run in runs.values())
    assert same_file(done, "segmenter.pth", "unet", "same")
    source = json.loads((runs["unet_pseudo"] / "options.json").read_text())["train_segmenter"]
    assert source["from_run"] == "ablation/paper/seed_22"
    assert "row medsam_box is left out: checkpoints/medsam_vit_b.pth is missing" in caplog.text

    lines = {
        row["line"]: row for row in read_rows(done / "checkpoints/ablation/tables/table_2.csv")
    }
    for line in ("U-Net", "SAM, box", "U-Net, pseudo-labels", "EP-SAM"):
        assert lines[line]["seeds"] == "1"
        assert int(lines[line]["parameters"]) > 0
        assert float(lines[line]["seconds"]) > 0
        assert 0 <= float(lines[line]["all_iou"]) <= 100
    assert lines["MedSAM, box"]["note"] == "checkpoints/medsam_vit_b.pth is missing"
    assert float(lines["all"]["all_iou"]) > 0


def test_a_row_with_flags_that_do_not_fit_ends_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablate, "run_script", lambda name, options: pytest.fail(name))
    rows = 'paper\nhard_then_soft RETRAIN_FLAGS="--soft_targets"'
    with pytest.raises(PreflightError, match="row hard_then_soft: RETRAIN_FLAGS have"):
        ablate.main(options(rows=rows))


def test_names_before_the_first_flag_are_runs():
    assert runs_to_flag(["a", "b/c", "--split", "val"]) == ["--runs=a,b/c", "--split", "val"]
    assert runs_to_flag(["--help"]) == ["--help"]


def test_the_script_passes_flags_that_exist():
    text = (REPOSITORY / "ablate.sh").read_text("utf-8")
    call = text.split('src/ablate.py "${data[@]}"')[1].split("\n}")[0].replace("\\\n", " ")
    names = [word.split("=")[0] for word in shlex.split(call) if word.startswith("--")]
    fields = {field.name for field in dataclasses.fields(AblateOptions)}
    assert len(names) >= 10
    assert {name.removeprefix("--") for name in names} <= fields


def test_too_little_gpu_memory_in_a_row_is_that_rows_failure(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    called = []

    def run_out_of_memory(options):
        called.append(options.batch_size)
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(train_classifier, "main", run_out_of_memory)
    rows = 'big CLASSIFIER_FLAGS="--batch_size 512"\nhuge CLASSIFIER_FLAGS="--batch_size 1024"'
    with pytest.raises(EpsamError, match="2 of 2 runs failed, the first being big with seed 22"):
        ablate.main(dataclasses.replace(options(seeds=(22,)), rows=rows))
    assert called == [512, 1024]
    assert (
        "row big, seed 22 failed: the GPU's memory is too small (CUDA out of memory); "
        "lower --batch_size" in caplog.messages
    )


def test_others_reuse_what_a_row_has_computed_before_it_fails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablate, "print_tables", lambda *_: None)
    reused = []

    def fail(_):
        raise EpsamError("at chance")

    monkeypatch.setattr(train_classifier, "main", lambda _: None)
    monkeypatch.setattr(generate_initial_masks, "main", fail)
    monkeypatch.setattr(
        run_plans,
        "reuse_stage",
        lambda source, target, stage: reused.append((source.root, target.root, stage)),
    )
    rows = 'a UNTIL=masks\nb UNTIL=masks MASK_FLAGS="--rotations 1"'
    with pytest.raises(EpsamError, match="2 of 2 runs failed"):
        ablate.main(dataclasses.replace(options(seeds=(22,)), rows=rows))
    a, b = (Path(RUN.format(row, 22)) for row in "ab")
    assert reused == [(a, b, "train_classifier")]


@pytest.fixture
def computed(tmp_path, monkeypatch):
    """«stage row» of each stage that is computed, in an empty folder; the stages leave records
    alone.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablate, "print_tables", lambda *_: None)
    monkeypatch.setattr(evaluate, "main", lambda _: None)
    computed = []

    def finish(name):
        def main(stage_options):
            stage = Stage(name, stage_options, {})
            if not stage.is_current():
                stage.begin()
                computed.append(f"{name} {stage_options.run.split('/')[1]}")
                stage.finish([])

        return main

    for script in (train_classifier, generate_initial_masks):
        monkeypatch.setattr(script, "main", finish(script.__name__))
    return computed


def test_finished_rows_that_only_leaves_out_are_reused_while_the_patches_are_the_same(computed):
    rows = 'a UNTIL=masks\nb UNTIL=masks MASK_FLAGS="--rotations 1"'
    every = dataclasses.replace(options(seeds=(22,)), rows=rows)
    ablate.main(dataclasses.replace(every, only=("a",)))
    assert computed == ["train_classifier a", "generate_initial_masks a"]

    computed.clear()
    ablate.main(dataclasses.replace(every, only=("b",)))
    assert computed == ["generate_initial_masks b"]

    computed.clear()
    image = Path("dataset/mini/train/image/new_1.png")
    image.parent.mkdir(parents=True)
    image.write_bytes(b"another patch")
    rows += '\nc UNTIL=masks MASK_FLAGS="--quantile 0.5"'
    ablate.main(dataclasses.replace(every, rows=rows, only=("c",)))
    assert computed == ["train_classifier c", "generate_initial_masks c"]


@pytest.mark.parametrize("replace", [False, True])
def test_a_finished_run_is_replaced_on_request_alone(computed, caplog, replace):
    once = dataclasses.replace(options(seeds=(22,)), rows="a UNTIL=masks\nb UNTIL=masks")
    ablate.main(once)
    computed.clear()
    # `b` could reuse what `a` has, which would replace what `b` has finished.
    changed = dataclasses.replace(
        once, replace=replace, rows='a UNTIL=masks\nb UNTIL=masks MASK_FLAGS="--quantile 0.8"'
    )
    if replace:
        ablate.main(changed)
        assert computed == ["generate_initial_masks b"]
    else:
        with pytest.raises(EpsamError, match="1 of 2 runs failed, the first being b"):
            ablate.main(changed)
        assert computed == []
        assert "row b with seed 22 not run: " in caplog.text
        assert "finished work, generate_initial_masks (quantile 0.3 → 0.8" in caplog.text
        assert "by NAME (--name), or replace old runs by REPLACE=1 (--replace)" in caplog.text


def test_a_run_on_which_another_process_works_is_left_to_it_and_the_others_go_on(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablate, "print_tables", lambda *_: None)
    called = []
    for module in (train_classifier, generate_initial_masks, evaluate):
        monkeypatch.setattr(
            module, "main", lambda stage_options: called.append(stage_options.run.split("/")[1])
        )
    rows = "a UNTIL=masks\nb UNTIL=masks"
    both = dataclasses.replace(options(seeds=(22,)), rows=rows)
    with holding(Path(RUN.format("a", 22))):
        ablate.main(both)
    assert called == ["b"] * 3
    assert "a with seed 22: left to the other run" in caplog.text
    assert "1 runs are left to the other ablate.sh, the first being a with seed 22" in caplog.text
    called.clear()
    ablate.main(both)
    assert called == ["a"] * 3


def test_a_run_that_an_earlier_version_has_evaluated_is_done(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablate, "print_tables", lambda *_: None)
    called = []
    for module in (train_classifier, generate_initial_masks, evaluate):
        monkeypatch.setattr(module, "main", lambda stage_options: called.append(stage_options.run))
    one = dataclasses.replace(options(seeds=(22,)), rows="a UNTIL=masks")
    ablate.main(one)
    path = Path(RUN.format("a", 22)) / "evaluated.json"
    inputs = json.loads(path.read_text())["inputs"]
    key = inputs.pop("flags or patches")
    path.write_text(json.dumps({"key": key, "stages": inputs}))
    called.clear()
    ablate.main(one)
    assert called == []
    path.write_text(json.dumps({"key": "other", "stages": inputs}))
    ablate.main(one)
    assert len(called) == 3


def test_after_an_interruption_the_unfinished_row_goes_on_and_finished_ones_are_skipped(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablate, "print_tables", lambda *_: None)
    called, interrupted_at = [], "generate_initial_masks b"

    def stub(script):
        def main(stage_options):
            called.append(f"{script.__name__} {stage_options.run.split('/')[1]}")
            if called[-1] == interrupted_at:
                raise KeyboardInterrupt

        monkeypatch.setattr(script, "main", main)

    for script in (train_classifier, generate_initial_masks, evaluate):
        stub(script)
    rows = "a UNTIL=masks\nb UNTIL=masks\nc UNTIL=masks"
    ablate_options = dataclasses.replace(options(seeds=(22,)), rows=rows)
    with pytest.raises(KeyboardInterrupt):
        ablate.main(ablate_options)
    stages = ["train_classifier", "generate_initial_masks", "evaluate"]
    assert called == [f"{stage} a" for stage in stages] + [
        "train_classifier b",
        "generate_initial_masks b",
    ]
    called.clear()
    interrupted_at = ""
    ablate.main(ablate_options)
    # The unfinished row runs its stages again, each of which checks what it has done.
    assert called == [f"{stage} {row}" for row in "bc" for stage in stages]


def test_options_are_read_as_the_script_gives_them():
    parsed = parse(
        "ablate", AblateOptions, ["--seeds", "1,2", "--only", "a,b", "--decoder_flags=--epoch 3"]
    )
    assert (parsed.seeds, parsed.only, parsed.decoder_flags) == ((1, 2), ("a", "b"), "--epoch 3")
    assert parse("ablate", AblateOptions, ["--only", ""]).only == ()
