"""The simulated annotator draws the ground truth pixel by pixel, and its rows are right."""

from pathlib import Path

import numpy as np
import pytest
import torch

from epsam.core.files import read_table
from epsam.corrections.shapes import paint_shapes
from support.archives import unpack
from support.mini import smaller_sam

ROOT = Path(__file__).resolve().parents[1]
ARCHIVE = Path(__file__).parent / "fixtures" / "run_0.1.0.tar.xz"


@pytest.fixture
def corrections(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import corrections

    return corrections


def test_the_annotator_draws_exactly_the_ground_truth_holes_and_islands_included(corrections):
    rng = np.random.default_rng(0)
    ring = np.zeros((32, 40), bool)
    ring[4:28, 5:35] = True
    ring[8:24, 9:31] = False
    # An island in the hole, and tumour at the border.
    ring[12:20, 14:26] = True
    ring[:, :2] = True
    for mask in (ring, rng.random((32, 40)) < 0.5, np.zeros((32, 40), bool), np.ones((8, 8), bool)):
        document = corrections.draw_mask("p", mask)
        height, width = mask.shape
        painted = paint_shapes([edit.shape for edit in document.edits], 0, 0, width, height)
        assert painted.reviewed.all()
        assert (painted.tumour == mask).all()


def test_the_picture_has_a_line_for_each_order_from_the_round_without_corrections(corrections):
    rows = [
        {"masks": "round 1", "order": order, "corrected": count, "dice": dice}
        | {"dataset": "d", "seed": "3"}
        for order, count, dice in (
            ("", "0", "0.5"),
            ("uncertain", "10", "0.6"),
            ("random", "10", "0.55"),
        )
    ]
    rows.append(rows[0] | {"masks": "round 2", "dice": "0.9"})
    series = corrections.list_series(rows)
    assert series == {
        "d, seed 3: uncertain": [(0, 0.5), (10, 0.6)],
        "d, seed 3: random": [(0, 0.5), (10, 0.55)],
    }
    assert corrections.draw_rows(rows).shape[2] == 3


@pytest.mark.slow
@pytest.mark.long
def test_sets_of_a_finished_run_are_trained_and_scored(corrections, tmp_path, monkeypatch):
    unpack(ARCHIVE, tmp_path)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with smaller_sam():
        source = corrections.load_source(Path("checkpoints/mini"))
        chosen = {order: corrections.order_patches(source, order) for order in corrections.ORDERS}
        for row in corrections.measure(source, [1]):
            corrections.append_row(tmp_path / "rows.csv", row)
    torch.set_num_threads(threads)

    assert sorted(chosen["uncertain"]) == sorted(chosen["random"])
    rows = read_table(tmp_path / "rows.csv", corrections.COLUMNS)
    sets = [(row["order"], row["corrected"]) for row in rows if row["order"]]
    assert sets == [("uncertain", "1"), ("random", "1")]
    # One round each, and the run itself is as it was.
    first = tmp_path / "checkpoints" / "mini-uncertain-1"
    assert (first / "decoder_iter1.pth").is_file()
    assert not (first / "decoder_iter2.pth").exists()
    assert len(list((first / "masks" / "corrections").iterdir())) == 1
