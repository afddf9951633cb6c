import math

import pytest

from epsam.ablation.data_table import count_patches, format_data_table
from epsam.ablation.paper_tables import FINAL, TABLES
from epsam.ablation.results import PatchMetrics, read_scores
from epsam.ablation.rows import read_rows
from epsam.ablation.statistics import describe_intervals
from epsam.ablation.tables import (
    format_table,
    list_drawn,
    list_tables,
    make_records,
)
from epsam.config.evaluation import EvaluateOptions
from epsam.core.errors import DatasetError
from epsam.core.files import write_table
from epsam.data.images import write_rgb
from epsam.paths import DatasetPaths, RunPaths
from epsam.tables import INITIAL

ROWS = read_rows(
    'paper\nraw UNTIL=masks MASK_FLAGS="--rotations 1"\nmine DECODER_FLAGS="--prompt box"'
)


def metrics(*dice):
    values = {f"p{n}": value for n, value in enumerate(dice)}
    return PatchMetrics(values, {name: value / 2 for name, value in values.items()})


RESULTS = {
    "paper": {
        22: {("train", INITIAL): metrics(0.5, 0.7), ("test", FINAL): metrics(0.6, 0.8)},
        23: {("train", INITIAL): metrics(0.7, 0.9), ("test", FINAL): metrics(0.8, 0.8)},
    },
    "raw": {23: {("train", INITIAL): metrics(0.4, 0.6)}},
}


def table(number):
    return next(each for each in list_tables(ROWS) if each.number == number)


def test_lines_are_means_over_patches_then_over_seeds():
    records = {r["line"]: r for r in make_records(table("3"), RESULTS, ROWS)}
    ours, raw = records["Enhanced ADL, ours"], records["Enhanced ADL, none"]
    # Seeds: 60 and 80 per cent; their sample deviation is 20 / sqrt(2).
    assert (ours["dice"], ours["dice_sd"]) == pytest.approx((70, 20 / math.sqrt(2)), abs=1e-3)
    assert (ours["iou"], ours["seeds"], ours["patches"], ours["split"]) == (35, 2, 2, "train")
    # Of the seed that both have, both patches lie 30 below; of the mean over the other's seeds it
    # would be 20.
    assert [raw[name] for name in ("difference", "low", "high")] == pytest.approx([-30, -30, -30])
    assert (raw["paper_camelyon17"], raw["flags"]) == ("70.12", "--rotations 1")
    assert math.isnan(records["ADL, ours"]["dice"])


def test_markdown_states_split_paper_and_missing_scores():
    text = format_table(table("3"), make_records(table("3"), RESULTS, ROWS))
    assert (
        "| Enhanced ADL, ours * | train | initial mask | 70.00 ± 14.14 | 35.00 ± 7.07 |  | "
        "78.67 / 66.42 |" in text
    )
    assert (
        "| initial mask | 50.00 (1 of 2 seeds) | 25.00 | -30.00 [-30.00, -30.00] | 70.12 |" in text
    )
    assert "| ADL, ours | train | initial mask | – | – | – | 78.11 |" in text


def test_the_tables_say_what_their_intervals_draw():
    scores = {("test", FINAL): PatchMetrics({"a": 0.5}, {"a": 0.4}, {"a": "s1"}, "slide")}
    assert list_drawn({"paper": {22: scores}}) == ["slide"]
    both = describe_intervals(list_drawn({**RESULTS, "paper": {22: scores}}))
    assert both.startswith("For an interval, whole slides are drawn, or patches are drawn, as")
    assert describe_intervals(list_drawn({"paper": {}})) == ""
    drawn = {record["line"]: record["drawn"] for record in make_records(table("3"), RESULTS, ROWS)}
    assert drawn["Enhanced ADL, ours"] == "patch"
    assert drawn["ADL, ours"] == ""


def test_rows_of_no_table_stand_beside_the_papers_method_at_the_same_stage():
    rows = read_rows(
        'paper\nraw UNTIL=masks\nview UNTIL=masks\nmine\nshort RETRAIN_FLAGS="--lr 1 --n_iter 1"\n'
        "box UNTIL=preliminary"
    )
    tables = [each for each in list_tables(rows) if each not in TABLES]
    assert [(each.number, [line.row for line in each.lines]) for each in tables] == [
        ("other_initial_mask", ["paper", "view"]),
        ("other_last_round", ["paper", "mine"]),
        ("other_round_1", ["paper", "short"]),
        ("other_preliminary_decoder", ["paper", "box"]),
    ]
    assert all(
        {line.predictor.replace(" ", "_") for line in each.lines} == {each.number[6:]}
        for each in tables
    )
    assert list_tables(ROWS[:2]) == list(TABLES)


def test_every_table_has_its_reference():
    assert [each.number for each in TABLES] == ["2", "3", "4", "5", "6"]
    for each in TABLES:
        assert sum(line.label == each.reference for line in each.lines) == 1


def test_scores_are_read_by_split_and_predictor_with_the_last_decoder(tmp_path):
    run = RunPaths(tmp_path)
    predictors = ["initial mask", "zero-shot SAM", "preliminary decoder", "round 1"]
    write_table(
        run.patch_scores,
        ("split", "what", "id", "dice", "iou"),
        [
            {"split": "test", "what": predictor, "id": "a", "dice": number, "iou": 0}
            for number, predictor in enumerate(predictors)
        ],
    )
    scores = read_scores(run)
    assert scores["test", FINAL].dice == {"a": 3.0}
    assert scores["test", "zero-shot SAM"].dice == {"a": 1.0}
    with pytest.raises(DatasetError, match="run evaluate.py on that run first"):
        read_scores(RunPaths(tmp_path / "none"))


def test_patches_are_counted_by_split_and_slides_where_a_table_lists_them(tmp_path):
    root = tmp_path / "mine"
    for split, name in (("train", "a_1"), ("train", "b_0"), ("train", "c_0"), ("val", "d_1")):
        write_rgb(root / split / "image" / f"{name}.png", blank_image())
    data = DatasetPaths.of(EvaluateOptions(dataset_type="mine", dataset_root=str(tmp_path)))
    counts = count_patches(data)
    assert [(c["split"], c["slides"], c["positives"], c["negatives"]) for c in counts] == [
        ("train", "–", 1, 2),
        ("val", "–", 1, 0),
        ("test", "–", 0, 0),
    ]
    write_table(
        data.patch_table,
        ("slide", "split"),
        [{"slide": "s1", "split": "train"}] * 2 + [{"slide": "s2", "split": "train"}],
    )
    assert count_patches(data)[0]["slides"] == 2
    assert "| train | 2 | 1 | 2 | 6020 | 3111 |" in format_data_table(count_patches(data))


def blank_image():
    import numpy as np

    return np.zeros((4, 4, 3), np.uint8)
