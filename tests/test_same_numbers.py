"""What benchmarks/same_numbers.py takes for a number that moved, and what it leaves out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from epsam.data.images import write_mask

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
RUN = "checkpoints/demo"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import same_numbers

    return same_numbers


def write_run(folder, weight=1.0, option="a", seconds="3", dice="0.5", masked=False):
    """A run with a file of each kind."""
    run = folder / RUN
    run.mkdir(parents=True)
    weights = {"w": torch.tensor([weight, 2.0]), "half": torch.ones(2, dtype=torch.bfloat16)}
    torch.save({"model": weights, "options": {"prompt": option}}, run / "decoder.pth")
    np.savez(run / "maps.npz", maps=np.full((2, 2), weight, np.float32))
    write_mask(run / "mask.png", np.full((4, 4), masked))
    table = f"stage,name,value,seconds\na,dice,{dice},{seconds}\na,seconds,{seconds},0\n"
    (run / "metrics.csv").write_text(table)
    (run / "record.json").write_text(json.dumps({"a": {"seconds": seconds, "lr": weight}}))
    (run / "report.html").write_text(seconds)
    return folder


def names(differences):
    return {(difference.file.rsplit("/", 1)[-1], difference.value) for difference in differences}


def test_equal_runs_of_other_length_do_not_differ(tool, tmp_path):
    old = write_run(tmp_path / "old", seconds="3")
    new = write_run(tmp_path / "new", seconds="9")
    assert tool.compare_folders(old, new) == []


def test_the_last_bit_of_a_weight_and_of_a_map_is_noticed(tool, tmp_path):
    old = write_run(tmp_path / "old", weight=1.0)
    new = write_run(tmp_path / "new", weight=float(np.nextafter(np.float32(1), np.float32(2))))
    differences = tool.compare_folders(old, new)
    assert all(difference.is_number for difference in differences)
    assert names(differences) == {
        ("decoder.pth", "/model/w"),
        ("maps.npz", "maps"),
        ("record.json", "/a/lr"),
    }


def test_a_pixel_and_a_cell_are_numbers_an_option_is_metadata(tool, tmp_path):
    old = write_run(tmp_path / "old")
    new = write_run(tmp_path / "new", option="b", dice="0.50001", masked=True)
    differences = {
        (difference.value, difference.is_number) for difference in tool.compare_folders(old, new)
    }
    assert differences == {("pixels", True), ("line 2, value", True), ("/options/prompt", False)}


def test_a_file_that_one_side_lacks_counts_as_a_number(tool, tmp_path):
    old, new = write_run(tmp_path / "old"), write_run(tmp_path / "new")
    (new / RUN / "mask.png").unlink()
    (missing,) = tool.compare_folders(old, new)
    assert missing.is_number
    assert str(missing) == f"{RUN}/mask.png: file: left by the old revision alone"


def test_missing_values_are_equal_to_each_other(tool):
    assert list(tool.read_csv_leaves("dice\nnan\n")) == [("line 2, dice", "nan")]
