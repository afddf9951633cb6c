"""Plans: which scripts a row runs, with which options, and which keys runs have in common."""

import dataclasses

import pytest

from epsam.ablation.paper_tables import ANY_ROW, METHOD_LINES, PATCH_LABELS
from epsam.ablation.plans import find_missing_weights, plan_run, plan_runs
from epsam.ablation.rows import read_rows, select_rows
from epsam.ablation.tables import list_tables
from epsam.config.ablation import AblateOptions
from epsam.recipes import RECIPES
from support.mini import REPOSITORY

ROWS = """
paper
raw      UNTIL=masks MASK_FLAGS="--rotations 1 --postprocess none"
accumulate  RETRAIN_FLAGS="--pl_mode accumulate"
"""
OPTIONS = AblateOptions(dataset_type="mini", common_flags="--device cpu")


def test_a_row_runs_the_scripts_up_to_its_end_and_then_the_evaluation():
    rows = read_rows("masks UNTIL=masks\nearly UNTIL=preliminary\nfull RETRAIN_FLAGS='--n_iter 2'")
    plans = [plan_run(row, 22, OPTIONS, "digest") for row in rows]
    assert [[step.script for step in plan.steps] for plan in plans] == [
        ["train_classifier", "generate_initial_masks", "evaluate"],
        ["train_classifier", "generate_initial_masks", "finetune_decoder", "evaluate"],
        [
            "train_classifier",
            "generate_initial_masks",
            "finetune_decoder",
            "retrain_decoder",
            "evaluate",
        ],
    ]
    assert [step.stages for step in plans[-1].steps] == [
        ("train_classifier",),
        ("generate_initial_masks",),
        ("decoder_0",),
        ("decoder_1", "decoder_2"),
        (),
    ]
    assert plans[0].run.root.as_posix() == "checkpoints/ablation/masks/seed_22"


def test_every_row_of_the_script_is_parsed_with_all_its_flags():
    text = (REPOSITORY / "ablate.sh").read_text("utf-8")
    rows = read_rows(text.split("ROWS=${ROWS:-'")[1].split("'}")[0])
    rows_in_tables = {line.row for table in list_tables([]) for line in table.lines}
    assert rows_in_tables - {ANY_ROW} <= {row.name for row in rows}
    methods = {row.recipe for row in rows} | {row.name for row in rows}
    assert RECIPES.keys() <= methods
    for plan in plan_runs(rows, AblateOptions(dataset_type="demo", seeds=(22,))):
        assert plan.steps[-1].script == "evaluate"


def test_rows_that_differ_late_share_the_keys_of_what_comes_before():
    rows = read_rows(ROWS)
    plans = {row.name: plan_run(row, 22, OPTIONS, "digest") for row in rows}
    keys = {name: [step.key for step in plan.steps] for name, plan in plans.items()}
    assert keys["paper"][:3] == keys["accumulate"][:3]
    assert keys["paper"][3] != keys["accumulate"][3]
    assert keys["paper"][0] == keys["raw"][0]
    assert keys["paper"][1] != keys["raw"][1]
    assert plan_run(rows[0], 23, OPTIONS, "digest").steps[0].key != keys["paper"][0]
    assert plan_run(rows[0], 22, OPTIONS, "other patches").steps[0].key != keys["paper"][0]


def test_flags_of_the_evaluation_change_the_scores_of_their_row_alone():
    rows = read_rows('paper\ngated EVALUATE_FLAGS="--gate_from validation"')
    paper, gated = (plan_run(row, 22, OPTIONS, "digest") for row in rows)
    assert [step.options.gate_from for step in (paper.steps[-1], gated.steps[-1])] == [
        "fixed",
        "validation",
    ]
    assert [step.key for step in paper.steps[:-1]] == [step.key for step in gated.steps[:-1]]
    assert paper.steps[-1].key != gated.steps[-1].key


def test_a_row_with_a_sam_of_its_own_is_evaluated_with_it():
    rows = read_rows('paper\nsmall DECODER_FLAGS="--sam_model_type vit_small"\nearly UNTIL=masks')
    options = dataclasses.replace(
        OPTIONS, sam_flags="--sam_model_type vit_h --sam_checkpoint a.pth"
    )
    paper, small, early = (plan_run(row, 22, options, "digest").steps[-1].options for row in rows)
    assert [each.sam_model_type for each in (paper, small, early)] == [
        "vit_h",
        "vit_small",
        "vit_h",
    ]
    assert {each.sam_checkpoint for each in (paper, small, early)} == {"a.pth"}


def test_bad_flags_of_a_row_end_with_2_before_anything_runs():
    with pytest.raises(SystemExit) as end:
        plan_run(read_rows('x MASK_FLAGS="--quantle 0.3"')[0], 1, OPTIONS, "")
    assert end.value.code == 2


METHOD_ROWS = """
paper
maps       METHOD=dws_mil
masks      METHOD=unet SEGMENTER_FLAGS="--epoch 3"
pseudo     METHOD=unet_pseudo FROM=paper
medsam_box METHOD=medsam_box
"""
SAM_OF_OTHERS = AblateOptions(
    dataset_type="mine",
    sam_flags="--sam_model_type vit_demo --sam_checkpoint sam.pth",
    segmenter_flags="--lr 1e-3",
    seeds=(22, 23),
)


def test_a_row_with_a_method_runs_the_stages_of_that_method_with_its_flags():
    plans = {plan.row.name: plan for plan in plan_runs(read_rows(METHOD_ROWS), SAM_OF_OTHERS)}
    scripts = {name: [step.script for step in plan.steps] for name, plan in plans.items()}
    assert scripts["maps"] == ["train_classifier", "generate_initial_masks", "evaluate"]
    assert scripts["masks"] == scripts["pseudo"] == ["train_segmenter", "evaluate"]
    assert scripts["medsam_box"] == ["train_box_decoder", "evaluate"]
    assert plans["maps"].steps[0].options.weak_model == "dws_mil"
    masks = plans["masks"].steps[0]
    assert (masks.options.segmenter, masks.options.targets) == ("unet", "ground_truth")
    assert (masks.options.epoch, masks.options.lr, masks.stages) == (3, 1e-3, ("train_segmenter",))


def test_weakmedsam_is_a_row_of_table_2_and_has_the_sam_of_the_others():
    text = (REPOSITORY / "ablate.sh").read_text("utf-8")
    rows = read_rows(text.split("ROWS=${ROWS:-'")[1].split("'}")[0])
    selected = {row.name: row for row in select_rows(rows, ("table_2",))}
    plan = plan_run(selected["weakmedsam"], 22, SAM_OF_OTHERS, "digest")
    assert [step.script for step in plan.steps] == [
        "train_classifier",
        "generate_initial_masks",
        "train_segmenter",
        "evaluate",
    ]
    classifier, masks, segmenter = (step.options for step in plan.steps[:3])
    assert (classifier.weak_model, masks.refine) == ("sam_encoder", "pam")
    assert (segmenter.segmenter, segmenter.targets) == ("unet", "initial")
    for stage_options in (classifier, masks):
        assert (stage_options.map_sam, stage_options.map_sam_checkpoint) == ("vit_demo", "sam.pth")
    (line,) = [line for line in METHOD_LINES if line.row == "weakmedsam"]
    assert (line.split, line.predictor, line.labels) == ("test", "unet", PATCH_LABELS)


def test_pseudo_labels_are_those_of_the_source_row_with_the_same_seed():
    plans = plan_runs(read_rows(METHOD_ROWS), SAM_OF_OTHERS)
    pseudo = [plan.steps[0] for plan in plans if plan.row.name == "pseudo"]
    assert [step.options.from_run for step in pseudo] == [
        "ablation/paper/seed_22",
        "ablation/paper/seed_23",
    ]
    # Other rounds of the source are another result of the row, other scores are not.
    for flags, is_same in (("--n_iter 2", False), ("", True)):
        rows = METHOD_ROWS.replace("paper\n", f'paper RETRAIN_FLAGS="{flags}"\n', 1)
        changed = [p for p in plan_runs(read_rows(rows), SAM_OF_OTHERS) if p.row.name == "pseudo"]
        assert (changed[0].steps[0].key == pseudo[0].key) == is_same


def test_medsam_has_weights_of_its_own_and_its_row_says_if_they_are_missing(tmp_path):
    options = dataclasses.replace(SAM_OF_OTHERS, checkpoint_root=tmp_path.as_posix())
    rows = read_rows(METHOD_ROWS)
    box = next(plan for plan in plan_runs(rows, options) if plan.row.name == "medsam_box")
    assert box.steps[0].options.sam_model_type == "vit_b"
    assert [step.options.sam_checkpoint for step in box.steps] == ["", ""]
    path = tmp_path / "medsam_vit_b.pth"
    assert find_missing_weights(rows, options) == {"medsam_box": path.as_posix()}
    path.touch()
    assert find_missing_weights(rows, options) == {}
