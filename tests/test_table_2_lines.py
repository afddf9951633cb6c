"""benchmarks/table_2_lines.py: the lines of an ablation's Table 2 as rows of docs/results."""

import csv
import sys
from pathlib import Path

import pytest

from epsam.core.errors import DatasetError
from epsam.core.files import write_json, write_table
from epsam.paths import RunPaths
from epsam.tables import METHOD_TABLE_COLUMNS

ROOT = Path(__file__).resolve().parents[1]
EMPTY = dict.fromkeys(METHOD_TABLE_COLUMNS, "")
NO_SCORES = dict.fromkeys(("dice", "dice_sd", "iou", "iou_sd", "all_iou", "all_iou_sd"), "nan")
NO_DIFFERENCE = dict.fromkeys(("difference", "low", "high"), "nan")
NO_COST = {"parameters": "", "seconds": "nan", "peak_gib": "nan"}
NOTHING = EMPTY | NO_SCORES | NO_DIFFERENCE | NO_COST


@pytest.fixture
def table_2_lines(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import table_2_lines

    return table_2_lines


def write_ablation(root):
    unet = {"line": "U-Net", "row": "unet", "masks": "unet", "seeds": "2"}
    scores = {"dice": "81.2849", "dice_sd": "1.005", "difference": "1.5", "seconds": "61.4"}
    lines = [
        NOTHING | {"line": "fill", "masks": "fill", "seeds": "2", "dice": "70"},
        NOTHING | unet | scores,
        NOTHING | {"line": "MedSAM, box", "row": "medsam_box", "note": "a file is missing"},
        NOTHING | {"line": "DeepLabV3+", "row": "deeplab"},
    ]
    write_table(root / "tables" / "table_2.csv", METHOD_TABLE_COLUMNS, lines)
    for seed, revision in ((22, "aaaaaaabbb"), (23, "cccccccddd")):
        evaluation = {"options": {"dataset_type": "mine"}, "code": {"git": revision}}
        run = RunPaths(root / "unet" / f"seed_{seed}")
        write_json(run.record, {"evaluate": evaluation})


def test_lines_are_rounded_and_have_the_revisions_of_their_runs(table_2_lines, tmp_path):
    write_ablation(tmp_path)
    fill, unet, medsam, deeplab = table_2_lines.read_lines(tmp_path, "./ablate.sh")
    assert fill.items() >= {"dataset": "mine", "dice": "70.00", "revision_note": ""}.items()
    assert fill["revision"] == unet["revision"]
    assert unet.items() >= {"dice": "81.28", "dice_sd": "1.00", "difference": "+1.50"}.items()
    assert unet.items() >= {"seconds": "61", "revision": "aaaaaaa ccccccc"}.items()
    assert unet["command"] == "./ablate.sh"
    assert medsam.items() >= {"dice": "", "revision_note": "a file is missing"}.items()
    assert deeplab.items() >= {"revision_note": "not measured", "revision": ""}.items()


def test_lines_of_the_same_dataset_are_replaced(table_2_lines, tmp_path, monkeypatch):
    write_ablation(tmp_path / "runs" / "ablation-mine")
    other = dict.fromkeys(table_2_lines.COLUMNS, "") | {"dataset": "other", "line": "fill"}
    write_table(tmp_path / "method_table.csv", table_2_lines.COLUMNS, [other])
    words = ["ablation-mine", "--command", "./ablate.sh", "--results", str(tmp_path)]
    words += ["--checkpoint_root", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", ["table_2_lines.py", *words])
    table_2_lines.main()
    table_2_lines.main()
    with (tmp_path / "method_table.csv").open(newline="") as stream:
        datasets = [row["dataset"] for row in csv.DictReader(stream)]
    assert datasets == ["other", "mine", "mine", "mine", "mine"]


def test_an_ablation_without_tables_is_told(table_2_lines, tmp_path):
    with pytest.raises(DatasetError, match=r"table_2\.csv: no such file; run ablate\.sh"):
        table_2_lines.read_lines(tmp_path, "./ablate.sh")
