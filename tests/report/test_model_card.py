import numpy as np
import pytest

from epsam.core.files import write_json, write_table
from epsam.data.images import write_rgb
from epsam.paths import DatasetPaths, RunPaths
from epsam.report.card_content import read_card_content
from epsam.report.card_terms import data_terms, weight_terms
from epsam.report.model_card import render_model_card
from epsam.tables import (
    ALL_PATCH_COLUMNS,
    CASE_COLUMN,
    CLASSIFIER_COLUMNS,
    FILL,
    PATCH_SCORE_COLUMNS,
    SCORE_COLUMNS,
)

ROUND = "round 1"
DICE = {
    # Two cases of two patches; the method is better than fill by 0.4 in one, by 0 in the other.
    FILL: {"a_1": 0.4, "b_1": 0.4, "c_1": 0.6, "d_1": 0.6},
    ROUND: {"a_1": 0.8, "b_1": 0.8, "c_1": 0.6, "d_1": 0.6},
}
CASES = {"a_1": "x", "b_1": "x", "c_1": "y", "d_1": "y", "e_0": "y"}


@pytest.fixture
def evaluated(tmp_path):
    """A run with scores of four test patches of two cases, and a dataset of one train patch."""
    run, root = RunPaths(tmp_path / "mine"), tmp_path / "ebhi"
    data = DatasetPaths(root, (root / "train", root / "val", root / "test"))
    write_rgb(root / "train" / "image" / "p_1.png", np.zeros((8, 8, 3), np.uint8))

    scores, patches = [], []
    for what, dice in DICE.items():
        row = dict.fromkeys((*SCORE_COLUMNS, *ALL_PATCH_COLUMNS), "0.5")
        scores.append(row | {"split": "test", "what": what, "patches": "4"})
        for name, value in dice.items():
            row = {"split": "test", "what": what, "id": name, "dice": value, "iou": 0.5}
            patches.append(row | {CASE_COLUMN: CASES[name]})
    write_table(run.evaluation, (*SCORE_COLUMNS, *ALL_PATCH_COLUMNS), scores)
    write_table(run.patch_scores, (*PATCH_SCORE_COLUMNS, CASE_COLUMN), patches)

    classified = []
    for name, case in CASES.items():
        row = {"split": "test", "id": name, "label": name[-1], "probability": 0.75}
        classified.append(row | {CASE_COLUMN: case})
    write_table(run.classifier_scores, (*CLASSIFIER_COLUMNS, CASE_COLUMN), classified)
    entry = {"ended": "2026", "seconds": 7.5, "versions": {"torch": "9.9"}}
    options = {"pretrained": "none", "backbone": "resnet18", "seed": 3}
    write_json(run.record, {"train_classifier": {**entry, "options": options}})
    # As stored: the flag's old spelling.
    decoder = {"select_on": "truth", "sam_model_type": "vit_demo"}
    masks = {"grid_search": True, "grid_by": "labels"}
    write_json(run.options, {"generate_initial_masks": masks, "finetune_decoder": decoder})
    return run, data


def test_the_card_says_what_the_model_is_for_and_what_it_is_not_for(evaluated):
    card = render_model_card(read_card_content(*evaluated))
    assert card.startswith("# Model card of the run mine\n")
    assert "**Not for diagnosis**" in card
    assert "patches of 8 px at a resolution that no table states" in card
    assert "Classifier: resnet18. Segment Anything Model: vit_demo." in card
    assert "epoch of a decoder is chosen by masks of the validation split" in card
    assert "kernel are chosen by labels of patches of the validation split" in card
    assert "| train_classifier | 7.5 |" in card
    assert "torch 9.9" in card
    assert "seed 3" in card


def test_the_card_names_a_weak_model_that_has_no_use_for_the_backbone(evaluated):
    run, _ = evaluated
    options = {"weak_model": "swin_mil", "backbone": "resnet50", "pretrained": "none", "seed": 3}
    entry = {"ended": "2026", "seconds": 7.5, "versions": {}, "options": options}
    write_json(run.record, {"train_classifier": entry})
    card = render_model_card(read_card_content(*evaluated))
    assert "Classifier: swin_mil." in card
    assert "resnet50" not in card


def test_intervals_go_by_case_where_cases_are_stated(evaluated):
    card = render_model_card(read_card_content(*evaluated))
    # By case, both draws may be the same: 0.8 and 0.8, or 0.6 and 0.6.
    assert "| round 1 | 4 | 0.700 | 0.600 to 0.800 | 0.500 | 0.500 |" in card
    assert "* round 1 against fill: +0.200 Dice [+0.000, +0.400]" in card
    assert "bootstrap, whole cases are drawn" in card
    # 4 positives of two cases, all at 0.75, and one negative.
    assert "| test | 4 | 4 | 1 | 2 |" in card
    assert "| test | 4 | 1 | 0.5000 | 1.0000 | 0.0000 | 0.0500 |" in card


def test_the_lowest_dice_come_first_with_their_cases(evaluated):
    card = render_model_card(read_card_content(*evaluated))
    worst = card.split("## Worst cases")[1].split("## How")[0]
    assert [line for line in worst.splitlines() if "_1" in line] == [
        "| c_1 | y | 0.600 |",
        "| d_1 | y | 0.600 |",
        "| a_1 | x | 0.800 |",
        "| b_1 | x | 0.800 |",
    ]


def test_without_cases_intervals_go_by_slide_and_without_slides_by_patch(evaluated):
    run, data = evaluated
    for table in (run.patch_scores, run.classifier_scores):
        lines = table.read_text().splitlines()
        table.write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n")
    assert "bootstrap, patches are drawn" in render_model_card(read_card_content(run, data))

    rows = [{"id": name[0], "label": name[2], "slide": f"s{CASES[name]}"} for name in CASES]
    write_table(data.patch_table, ("id", "label", "slide"), rows)
    card = render_model_card(read_card_content(run, data))
    assert "bootstrap, whole slides are drawn" in card
    assert "| c_1 | sy | 0.600 |" in card


def test_a_run_without_any_ground_truth_has_a_card(evaluated):
    run, data = evaluated
    write_table(run.evaluation, SCORE_COLUMNS, [])
    write_table(run.patch_scores, PATCH_SCORE_COLUMNS, [])
    card = render_model_card(read_card_content(run, data))
    assert "nothing could be scored" in card
    assert "| test | 4 | 0 | 1 | 2 |" in card


def test_the_terms_name_weights_and_data_and_say_where_nothing_is_known():
    terms = "\n".join(
        weight_terms(
            {
                "train_classifier": {"pretrained": "imagenet"},
                "finetune_decoder": {"sam_model_type": "vit_b", "sam_checkpoint": ""},
            }
        )
    )
    assert "Meta's Segment Anything, Apache-2.0" in terms
    assert "non-commercial research" in terms
    assert "patent" in terms
    unknown = "\n".join(
        weight_terms(
            {
                "train_classifier": {"pretrained": "mine.pth"},
                "finetune_decoder": {"sam_model_type": "vit_b", "sam_checkpoint": "my_sam.pth"},
            }
        )
    )
    assert "mine.pth: its terms are not known here" in unknown
    assert "my_sam.pth; its terms are not known here" in unknown
    assert "Meta" not in unknown
    assert "CC BY 4.0" in data_terms("ebhi")[0]
    assert "ask who owns it" in data_terms("mine")[0]
