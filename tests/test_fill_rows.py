"""benchmarks/fill_rows.py: scores of masks of no method."""

from pathlib import Path

import numpy as np
import pytest

from epsam.data.images import write_mask, write_rgb
from support.tables import read_rows

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def fill_rows(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import fill_rows

    return fill_rows


def test_filled_positives_and_filled_patches_by_hand(tmp_path, monkeypatch, fill_rows):
    """Positives of 8 × 8 px with 16 and 48 px of tumour, and a negative."""
    split = tmp_path / "toy" / "test"
    for name, tumour_rows in (("a_1", 2), ("b_1", 6), ("c_0", 0)):
        write_rgb(split / "image" / f"{name}.png", np.full((8, 8, 3), 200, np.uint8))
        if tumour_rows:
            mask = np.zeros((8, 8), bool)
            mask[:tumour_rows] = True
            write_mask(split / "mask" / f"{name}.png", mask)

    words = ["x", "toy", "--dataset_root", str(tmp_path), "--results", str(tmp_path)]
    monkeypatch.setattr("sys.argv", words)
    fill_rows.main()
    fill, everything = read_rows(tmp_path / "fill.csv")

    # Dice 2·16/(16 + 64) = 0.4 and 2·48/(48 + 64) = 0.857; IoU 16/64 and 48/64.
    assert (fill["dice"], fill["iou"]) == (everything["dice"], everything["iou"])
    assert (fill["dice"], fill["iou"]) == ("0.629", "0.500")
    # 64 px of tumour in 2 patches of 64 px, and in 3.
    assert (fill["masks"], fill["all_iou"]) == ("fill", "0.500")
    assert (everything["masks"], everything["all_iou"]) == ("all", "0.333")
    assert (fill["positives"], fill["negatives"], fill["split"]) == ("2", "1", "test")
