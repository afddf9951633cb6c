"""The simulated annotator draws the ground truth pixel by pixel, and its rows are right."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from epsam.core.errors import TrainingError
from epsam.core.files import read_table
from epsam.corrections.shapes import paint_shapes
from epsam.metrics import PixelCounts
from support.archives import unpack
from support.mini import smaller_sam

ROOT = Path(__file__).resolve().parents[1]
ARCHIVE = Path(__file__).parent / "fixtures" / "run_0.1.0.tar.xz"


@pytest.fixture
def corrections(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import corrections

    return corrections


@pytest.fixture
def rounds(corrections):
    return sys.modules["correction_rounds"]


def test_the_annotator_draws_exactly_the_ground_truth_holes_and_islands_included(rounds):
    rng = np.random.default_rng(0)
    ring = np.zeros((32, 40), bool)
    ring[4:28, 5:35] = True
    ring[8:24, 9:31] = False
    # An island in the hole, and tumour at the border.
    ring[12:20, 14:26] = True
    ring[:, :2] = True
    for mask in (ring, rng.random((32, 40)) < 0.5, np.zeros((32, 40), bool), np.ones((8, 8), bool)):
        document = rounds.draw_mask("p", mask)
        height, width = mask.shape
        painted = paint_shapes([edit.shape for edit in document.edits], 0, 0, width, height)
        assert painted.reviewed.all()
        assert (painted.tumour == mask).all()


def test_the_picture_has_means_over_seeds_by_order_from_the_round_without_corrections(corrections):
    rows = [
        {"masks": "round 1", "order": order, "corrected": count, "dice": dice}
        | {"dataset": "d", "seed": seed}
        for seed, order, count, dice in (
            ("3", "", "0", "0.5"),
            ("3", "uncertain", "10", "0.75"),
            ("3", "random", "10", "0.625"),
            ("4", "", "0", "0.25"),
            ("4", "uncertain", "10", "0.25"),
        )
    ]
    rows.append(rows[0] | {"order": "of the run", "dice": "0.9"})
    series = corrections.list_series(rows)
    assert series == {
        "d: uncertain": [(0, 0.375), (10, 0.5)],
        "d: random": [(0, 0.375), (10, 0.625)],
    }
    assert corrections.draw_rows(rows).shape[2] == 3


def test_a_row_is_there_as_soon_as_it_is_measured_and_a_set_that_fails_stops_no_other(
    corrections, tmp_path, monkeypatch, caplog
):
    table = corrections.ResultTable(tmp_path / "rows.csv", {"dataset": "d", "revision": "abc"})
    sets = []

    def train_round(source, name, patches):
        sets.append((name, list(patches)))
        written = [row["corrected"] for row in table.read()]
        if name == "s-uncertain-2":
            raise TrainingError("no mask; draw one")
        # Each row of a set is in the file before the next one begins.
        assert written == ["0", "1", "1", "2"][: len(written)]
        return name, 0.75

    # 6 of the 8 pixels that are predicted or true: Dice 12 / 14.
    scores = {"p": PixelCounts(6, 6, 8)}
    monkeypatch.setattr(corrections, "train_round", train_round)
    monkeypatch.setattr(corrections, "score_decoders", lambda *_: {"round 1": scores})
    monkeypatch.setattr(corrections, "add_own_decoders", lambda *_: None)
    monkeypatch.setattr(corrections, "order_patches", lambda _, order: [order[0], "x"])

    class Source:
        name = "s"

    def score_row(source, val_dice, counts, baseline):
        return {"dice": f"{counts['p'].dice:.3f}"}

    monkeypatch.setattr(corrections, "score_row", score_row)
    assert corrections.measure(Source, [1, 2], table) == ["2 uncertain"]
    assert "2 uncertain: failed: no mask; draw one" in caplog.text
    assert sets == [
        ("s-0", []),
        *(("s-uncertain-1", ["u"]), ("s-random-1", ["r"])),
        *(("s-uncertain-2", ["u", "x"]), ("s-random-2", ["r", "x"])),
    ]
    rows = [(row["order"], row["corrected"], row["dice"]) for row in table.read()]
    assert rows == [
        ("", "0", "0.857"),
        *(("uncertain", "1", "0.857"), ("random", "1", "0.857"), ("random", "2", "0.857")),
    ]

    # A second call makes the round without corrections, for the differences, and what is missing.
    sets.clear()
    assert corrections.measure(Source, [1, 2], table) == ["2 uncertain"]
    assert [name for name, _ in sets] == ["s-0", "s-uncertain-2"]
    assert len(table.read()) == 4


@pytest.mark.slow
@pytest.mark.long
def test_sets_of_a_finished_run_are_trained_and_scored(corrections, rounds, tmp_path, monkeypatch):
    unpack(ARCHIVE, tmp_path)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    table = corrections.ResultTable(tmp_path / "rows.csv", {"dataset": "mini", "epochs": 1})
    with smaller_sam():
        source = corrections.load_source(Path("checkpoints/mini"), 1)
        chosen = {order: corrections.order_patches(source, order) for order in corrections.ORDERS}
        assert corrections.measure(source, [1], table) == []
    torch.set_num_threads(threads)

    assert sorted(chosen["uncertain"]) == sorted(chosen["random"])
    rows = read_table(tmp_path / "rows.csv", corrections.COLUMNS)
    sets = [(row["masks"], row["order"], row["corrected"]) for row in rows]
    assert sets == [
        ("round 1", "", "0"),
        ("preliminary decoder", "of the run", "0"),
        ("round 1", "of the run", "0"),
        ("round 1", "uncertain", "1"),
        ("round 1", "random", "1"),
    ]
    for row in rows:
        dice, iou = float(row["dice"]), float(row["iou"])
        assert 0 < iou <= dice <= 1
    # One round each, and the run itself is as it was.
    first = tmp_path / "checkpoints" / "mini-uncertain-1"
    assert (first / "decoder_iter1.pth").is_file()
    assert not (first / "decoder_iter2.pth").exists()
    assert len(list((first / "masks" / "corrections").iterdir())) == 1
    without = tmp_path / "checkpoints" / "mini-0"
    assert not (without / "masks" / "corrections").exists()
