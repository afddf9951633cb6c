"""benchmarks/map_regressions.py: fits and scores, by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from epsam.core.errors import DatasetError
from epsam.data.images import write_mask, write_rgb
from epsam.data.patches import list_labelled_patches
from epsam.paths import RunPaths

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def map_regressions(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import map_regressions

    return map_regressions


@pytest.fixture
def batches():
    """Two patches whose map is their first feature of two, plus another constant for each."""
    cells = torch.randn(2, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    constants = torch.tensor([0.3, 5.0])[:, None, None]
    return [(cells, cells[:, 0] + constants)]


def test_a_ridge_of_nothing_finds_the_feature_that_the_map_is(map_regressions, batches):
    predict = map_regressions.fit_ridge(batches, ridge=0.0)
    cells = torch.zeros(1, 2, 64, 64)
    cells[0, 0, 5, 6] = 2.0
    cells[0, 1, 7, 8] = 2.0
    predicted = predict(cells)[0]
    assert predicted[5, 6] == pytest.approx(2.0, abs=0.01)
    assert predicted[7, 8] == pytest.approx(0.0, abs=0.01)


def test_trees_find_it_too(map_regressions, batches):
    predict = map_regressions.fit_trees(batches)
    cells = torch.zeros(1, 2, 64, 64)
    cells[0, 0, 5, 6] = 1.0
    predicted = predict(cells)[0]
    assert predicted.shape == (64, 64)
    assert predicted[5, 6] - predicted[0, 0] == pytest.approx(1.0, abs=0.2)


def test_a_cell_of_the_ground_truth_is_its_share_of_tumour(map_regressions, tmp_path):
    # 128 px: a cell is 2 × 2 px. One pixel of the first cell is tumour, all of the second.
    mask = np.zeros((128, 128), bool)
    mask[0, 0] = True
    mask[:2, 2:4] = True
    write_rgb(tmp_path / "image" / "a_1.png", np.zeros((128, 128, 3), np.uint8))
    write_mask(tmp_path / "mask" / "a_1.png", mask)
    (cells,) = map_regressions.read_truth(list_labelled_patches(tmp_path)).values()
    assert cells[0, :3].tolist() == [0.25, 1.0, 0.0]
    assert cells.sum() == 1.25


def test_maps_go_from_0_to_1_and_a_flat_one_is_0(map_regressions, tmp_path):
    for name in ("a_1", "b_1"):
        write_rgb(tmp_path / "image" / f"{name}.png", np.zeros((2, 2, 3), np.uint8))
    patches = list_labelled_patches(tmp_path)
    cells = [torch.tensor([[[2.0, 4.0]], [[3.0, 3.0]]])]
    maps = map_regressions.predict_maps(lambda cells: cells, cells, patches)
    assert maps["a_1"].tolist() == [[0.0, 1.0]]
    assert maps["b_1"].tolist() == [[0.0, 0.0]]


def test_without_maps_or_ground_truth_one_line_says_so(map_regressions, tmp_path):
    with pytest.raises(DatasetError, match=r"activation/train.npz: no such file; name a run"):
        map_regressions.load_base_maps(RunPaths(tmp_path), "train")
    write_rgb(tmp_path / "image" / "a_1.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(DatasetError, match="no positive has a mask to compare with"):
        map_regressions.list_with_truth(tmp_path)
