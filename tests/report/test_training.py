from dataclasses import replace

import pytest

from epsam.core.errors import DatasetError
from epsam.core.files import write_json, write_table
from epsam.evaluation.thresholds import RunThresholds, save_thresholds
from epsam.paths import DatasetPaths, RunPaths
from epsam.report.provenance import find_gate_threshold
from epsam.report.training import (
    TrainingResults,
    fraction_rows,
    read_run,
    render_training_report,
    round_rows,
    run_warnings,
)
from epsam.tables import ALL_PATCH_COLUMNS, METRIC_COLUMNS, SCORE_COLUMNS


def metric(stage, epoch, name, value):
    return {"stage": stage, "epoch": str(epoch), "name": name, "value": str(value)}


METRICS = [
    metric("classifier", 1, "seconds", 10.0),
    metric("classifier", 2, "seconds", 12.5),
    metric("decoder_0", 1, "val_dice", 0.5),
    metric("decoder_0", 2, "val_dice", 0.7),
    metric("decoder_0", 3, "val_dice", 0.6),
    metric("decoder_0", 3, "acceptance", 0.25),
    metric("decoder_1", 1, "val_dice", 0.8),
    metric("decoder_1", 1, "acceptance", 0.01),
]


def score(split, what, dice):
    return {
        "split": split,
        "what": what,
        "patches": "3",
        "dice": str(dice),
        "iou": "0.5",
        "pooled_dice": "0.5",
        "pooled_iou": "0.5",
        "kept": "",
        "kept_dice": "",
    }


def results(scores=(), patches=(), metrics=(), options=None):
    return TrainingResults("mine", list(scores), list(patches), list(metrics), options or {})


def empty_dataset(folder):
    return DatasetPaths(folder / "data", (folder, folder, folder))


def test_each_round_has_its_best_epoch_and_its_acceptance():
    assert round_rows(METRICS) == [
        {"round": "0", "best val_dice": "0.7000", "accepted": "0.2500"},
        {"round": "1", "best val_dice": "0.8000", "accepted": "0.0100"},
    ]


def test_warnings_name_reasons_for_distrust():
    scores = [score("test", "initial mask", 0.8), score("test", "round 1", 0.7)]
    options = {"finetune_decoder": {"sam_model_type": "vit_demo"}}
    messages = run_warnings(results(scores, metrics=METRICS, options=options))
    assert len(messages) == 3
    assert "Round 1 accepted only 1.0 %" in messages[0]
    assert "0.700" in messages[1]
    assert "vit_demo" in messages[2]


def test_a_stage_that_left_nothing_to_learn_from_is_the_first_warning(tmp_path):
    run = RunPaths(tmp_path)
    write_json(
        tmp_path / "stages" / "train_classifier.json",
        {"fingerprint": "x", "trouble": "it is at chance"},
    )
    run.evaluation.write_text(",".join(SCORE_COLUMNS) + "\n")
    assert run_warnings(read_run(run, empty_dataset(tmp_path))) == [
        "train_classifier: it is at chance."
    ]


def test_a_run_that_failed_says_so_before_anything_else(tmp_path):
    write_json(
        tmp_path / "stages" / "train_classifier.json",
        {"fingerprint": "x", "trouble": "it is at chance"},
    )
    write_json(tmp_path / "failures.json", {"retrain_decoder": "p_1.png: no image; remove it"})
    record = {}
    for number, stage in enumerate(("train_classifier", "finetune_decoder")):
        record[stage] = {"ended": f"2026-01-0{number + 1}", "options": {}}
    write_json(RunPaths(tmp_path).record, record)
    page = render_training_report(read_run(RunPaths(tmp_path), empty_dataset(tmp_path)))
    messages = run_warnings(read_run(RunPaths(tmp_path), empty_dataset(tmp_path)))
    assert messages[0] == "retrain_decoder failed: p_1.png: no image; remove it"
    assert "not complete" in messages[1]
    assert messages[1].endswith("The last stage that has ended is finetune_decoder.")
    assert messages[2] == "train_classifier: it is at chance."
    assert page.index("retrain_decoder failed") < page.index("<h2>Seconds")


def test_tables_that_count_differently_say_so():
    columns = dict.fromkeys(ALL_PATCH_COLUMNS, "0.5")
    classified = [{"split": "test", "id": "a_1", "label": "1", "probability": "0.75"}]
    run = replace(
        results([score("test", "round 1", 0.9) | columns]),
        classified=classified,
        gate_on_validation=0.625,
    )
    page = render_training_report(run)
    means, all_patches, classifier = (
        page.split(f"<h2>{heading}</h2>")[1].split("</section>")[0]
        for heading in ("Dice and IoU", "All patches", "Classifier")
    )
    assert "Means over patches with tumour" in means
    assert "all_iou" not in means
    assert "Counted otherwise than above" in all_patches
    assert "probability of at least\n0.5" in all_patches
    assert "ECE 0.250" in classifier
    assert "<circle" in classifier
    assert "0.625 separates the validation patches best" in classifier


def test_scores_of_an_older_version_are_shown_without_the_later_columns():
    page = render_training_report(results([score("test", "round 1", 0.9)]))
    assert "<h2>Dice and IoU</h2>" in page
    assert "<h2>All patches</h2>" not in page
    assert "<h2>Classifier</h2>" not in page


def test_the_gate_is_that_of_the_evaluation(tmp_path):
    run = RunPaths(tmp_path)
    assert find_gate_threshold(run, {}) == 0.5
    assert find_gate_threshold(run, {"evaluate": {"gate_threshold": 0.3}}) == 0.3
    off = {"gate_threshold": 0.3, "classifier_gate": False}
    assert find_gate_threshold(run, {"evaluate": off}) == 0
    save_thresholds(run, RunThresholds(0.7, 0.7))
    assert find_gate_threshold(run, {"evaluate": {"gate_threshold": 0.3}}) == 0.7


def test_failed_slides_and_the_options_of_their_patches_are_listed(tmp_path):
    data = empty_dataset(tmp_path)
    write_table(
        data.slide_table,
        ["slide", "status", "reason"],
        [
            {"slide": "a", "status": "used", "reason": ""},
            {"slide": "b", "status": "failed", "reason": "no pixel size"},
        ],
    )
    write_json(data.patch_options, {"options": {"stride": 99}})
    read = read_run(RunPaths(tmp_path), data)
    assert run_warnings(read)[1:] == ["1 of 2 slides failed.", "b: no pixel size"]
    assert read.options == {"extract_patches": {"stride": 99}}


def test_metrics_edited_by_hand_are_named_with_the_line(tmp_path):
    run = RunPaths(tmp_path)
    write_table(
        run.metrics,
        METRIC_COLUMNS,
        [metric("classifier", 1, "seconds", 1.0), metric("x", 1, "y", "high")],
    )
    with pytest.raises(
        DatasetError, match=r"metrics\.csv line 3: value is 'high', not the number it should be"
    ):
        read_run(run, empty_dataset(tmp_path))


def test_a_good_run_has_no_warnings():
    scores = [score("test", "initial mask", 0.7), score("test", "round 1", 0.8)]
    assert run_warnings(results(scores, options={"a": {"sam_model_type": "vit_b"}})) == []


def test_only_the_last_decoders_test_patches_are_in_the_histogram():
    patches = [
        {"split": "test", "what": "round 1", "id": "a", "dice": "0.9", "iou": "0.8"},
        {"split": "val", "what": "round 1", "id": "b", "dice": "0.9", "iou": "0.8"},
        {"split": "test", "what": "initial mask", "id": "a", "dice": "0.1", "iou": "0.1"},
    ]
    page = render_training_report(results([score("test", "round 1", 0.9)], patches))
    assert "1 test patches, round 1; lowest 0.900, median 0.900" in page
    assert "0.90 to 0.95: 1<" in page


def test_a_run_without_anything_is_still_a_page():
    page = render_training_report(results())
    assert "<h1>EP-SAM, run mine</h1>" in page
    assert "<section>" not in page


def test_scores_by_tumour_fraction_are_those_of_the_last_split_and_predictor():
    rows = []
    for split, what, percent in (
        ("val", "round 1", "20-90"),
        ("test", "zero-shot SAM", "20-90"),
        ("test", "round 1", "0"),
        ("test", "round 1", "20-90"),
    ):
        values = {"windows": "3", "dice": "" if percent == "0" else "0.512345"}
        row = {"split": split, "what": what, "tumour_percent": percent, **values}
        rows.append({**row, "recall": "", "marked": "0.25"})
    run = replace(results([score("test", "round 1", 0.9)]), fractions=rows)
    assert [(row["what"], row["tumour_percent"]) for row in fraction_rows(run)] == [
        ("round 1", "0"),
        ("round 1", "20-90"),
    ]
    page = render_training_report(run)
    section = page.split("<h2>By tumour fraction</h2>")[1].split("</section>")[0]
    assert "0.5123" in section
    assert "<h2>By tumour fraction</h2>" not in render_training_report(results([]))
