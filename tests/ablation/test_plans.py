"""Plans: which scripts a row runs, with which options, and which keys runs have in common."""

import pytest

from epsam.ablation.paper_tables import OTHER_METHODS
from epsam.ablation.plans import plan_run
from epsam.ablation.rows import read_rows
from epsam.ablation.tables import list_tables
from epsam.config.ablation import AblateOptions
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
    # The others are values of METHOD of train.sh.
    other_methods = {line.row for line in OTHER_METHODS}
    assert rows_in_tables - other_methods <= {row.name for row in rows}
    for row in rows:
        plan = plan_run(row, 22, AblateOptions(dataset_type="demo"), "digest")
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


def test_bad_flags_of_a_row_end_with_2_before_anything_runs():
    with pytest.raises(SystemExit) as end:
        plan_run(read_rows('x MASK_FLAGS="--quantle 0.3"')[0], 1, OPTIONS, "")
    assert end.value.code == 2
