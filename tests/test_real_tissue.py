"""benchmarks/real_tissue.py: rows of docs/results from evaluated runs."""

import json
from pathlib import Path

import pytest

from support.tables import read_rows

ROOT = Path(__file__).resolve().parents[1]

SUMMARY = """split,what,patches,dice,iou,pooled_dice,pooled_iou,kept,kept_dice,all_patches,all_iou
train,fill,2,0.9,0.9,0.9,0.9,,,,
test,fill,2,0.8,0.7,0.8,0.7,,,3,0.6
test,initial mask,2,0.7,0.6,0.7,0.6,,,3,0.55
test,round 1,2,0.9,0.8,0.9,0.8,,,3,0.75
"""
PATCHES = """split,what,id,dice,iou,case
test,fill,a_1,0.7,0.6,1
test,fill,b_1,0.9,0.8,2
test,initial mask,a_1,0.6,0.5,1
test,initial mask,b_1,0.8,0.7,2
test,round 1,a_1,0.9,0.8,1
test,round 1,b_1,{dice},0.8,2
"""


@pytest.fixture
def real_tissue(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import real_tissue

    return real_tissue


@pytest.fixture
def add_rows(tmp_path, monkeypatch, real_tissue):
    """Two evaluated runs, and a call that adds their rows to the files in the folder returned."""
    for seed, dice in ((22, 0.9), (23, 1.0)):
        run = tmp_path / "runs" / f"s{seed}"
        run.mkdir(parents=True)
        (run / "evaluation.csv").write_text(SUMMARY)
        (run / "evaluation_patches.csv").write_text(PATCHES.format(dice=dice))
        stage = {
            "seconds": 60.0,
            "options": {"dataset_type": "ebhi", "seed": seed},
            "code": {"git": "0123456789"},
        }
        # The classifier was interrupted: its last session was shorter than its epochs.
        record = {"train_classifier": {**stage, "fit_seconds": 120.0}, "evaluate": stage}
        (run / "record.json").write_text(json.dumps(record))

    results = tmp_path / "results"
    results.mkdir()
    words = ["x", "paper", "s22", "s23", "--command", "SEED=22 ./train.sh"]
    words += ["--checkpoint_root", str(tmp_path / "runs"), "--results", str(results)]

    def call():
        monkeypatch.setattr("sys.argv", words)
        real_tissue.main()
        return results

    return call


def test_each_run_gives_a_row_for_all_masks_but_those_of_training(add_rows):
    rows = read_rows(add_rows() / "real_tissue.csv")
    assert [(row["seed"], row["masks"]) for row in rows] == [
        ("22", "fill"),
        ("22", "initial mask"),
        ("22", "round 1"),
        ("23", "fill"),
        ("23", "initial mask"),
        ("23", "round 1"),
    ]
    last = rows[-1]
    assert (last["row"], last["revision"], last["minutes"]) == ("paper", "0123456", "3")
    assert (last["dice"], last["all_patches"], last["all_iou"]) == ("0.900", "3", "0.750")
    assert last["command"] == "SEED=22 ./train.sh"


def test_a_difference_is_of_the_means_over_seeds(add_rows):
    rows = read_rows(add_rows() / "real_tissue_differences.csv")
    assert [(row["masks"], row["beside"]) for row in rows] == [
        ("initial mask", "fill"),
        ("round 1", "fill"),
        ("round 1", "initial mask"),
    ]
    # Patch a: 0.9 beside 0.7 with both seeds. Patch b: 0.95, the mean of 0.9 and 1, beside 0.9.
    above_fill = rows[1]
    assert (above_fill["dice"], above_fill["beside_dice"]) == ("0.925", "0.800")
    assert above_fill["difference"] == "+0.125"
    assert (above_fill["low"], above_fill["high"]) == ("+0.050", "+0.200")
    assert (above_fill["patches"], above_fill["cases"], above_fill["seeds"]) == ("2", "2", "22 23")


def test_rows_of_other_days_stay(add_rows):
    add_rows()
    assert len(read_rows(add_rows() / "real_tissue.csv")) == 12
