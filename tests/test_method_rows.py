"""benchmarks/method_rows.py: scores and costs of a run as rows."""

import csv
import sys
from pathlib import Path

import pytest
import torch

from epsam.core.files import write_json, write_table
from epsam.paths import RunPaths
from epsam.tables import ALL_PATCH_COLUMNS, PATCH_SCORE_COLUMNS, SCORE_COLUMNS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def method_rows(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import method_rows

    return method_rows


def test_rows_hold_what_a_run_scored_on_validation_and_test_and_what_it_cost(
    method_rows, tmp_path, monkeypatch
):
    run = RunPaths(tmp_path / "runs" / "mine-unet")
    options = {"dataset_type": "mine", "seed": 23}
    code = {"git": "0123456789abcdef"}
    write_json(
        run.record,
        {
            "train_segmenter": {"seconds": 61.4, "peak_ram_gib": 1.256},
            "evaluate": {"seconds": 9.0, "options": options, "code": code},
        },
    )
    torch.save({"model": {"a": torch.zeros(3, 5)}}, run.segmenter)
    columns = (*SCORE_COLUMNS, *ALL_PATCH_COLUMNS)
    row = dict.fromkeys(columns, "1") | {"what": "unet", "dice": "0.81249", "all_iou": "0.6"}
    splits = [row | {"split": split, "auroc": ""} for split in ("train", "val", "test")]
    filled = row | {"split": "test", "what": "fill"}
    write_table(run.evaluation, columns, [*splits, filled])

    words = ["unet", "mine-unet", "--command", "METHOD=unet ./train.sh", "--results", str(tmp_path)]
    words += ["--checkpoint_root", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", ["method_rows.py", *words])
    method_rows.main()
    method_rows.main()
    monkeypatch.setattr(sys, "argv", ["method_rows.py", *words, "--splits", "val"])
    method_rows.main()
    with (tmp_path / "methods.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    # Earlier rows stay.
    assert [line["split"] for line in rows] == ["val", "test", "test"] * 2 + ["val"]
    assert (rows[2]["masks"], rows[2]["seconds"], rows[2]["parameters"]) == ("fill", "", "")
    values = {"dataset": "mine", "method": "unet", "seed": "23", "masks": "unet"}
    costs = {"parameters": "15", "seconds": "61", "peak_gib": "1.26", "revision": "0123456"}
    scores = {"dice": "0.812", "iou": "1.000", "all_iou": "0.600", "auroc": ""}
    assert rows[0].items() >= {**values, **costs, **scores}.items()


def test_a_row_may_stand_beside_the_same_masks_of_another_run(method_rows, tmp_path):
    def write_scores(run, dice_of_patches, masks="round 1"):
        rows = []
        for number, dice in enumerate(dice_of_patches):
            for split in ("val", "test"):
                rows.append(
                    {"split": split, "what": masks, "id": f"p{number}", "dice": dice, "iou": dice}
                )
        write_table(run.patch_scores, PATCH_SCORE_COLUMNS, rows)
        return run

    base = write_scores(RunPaths(tmp_path / "base"), [0.5, 0.5])
    run = write_scores(RunPaths(tmp_path / "run"), [0.6, 0.6])
    # Every patch is better by 0.1, whichever ones the bootstrap draws.
    cells = {"difference": "+0.100", "low": "+0.100", "high": "+0.100"}
    differences = method_rows.differences_of_run(run, base)
    assert differences["val", "round 1"] == differences["test", "round 1"] == cells

    other = write_scores(RunPaths(tmp_path / "other"), [0.6, 0.6], masks="unet")
    assert ("test", "unet") not in method_rows.differences_of_run(other, base)
