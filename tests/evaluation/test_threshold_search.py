from dataclasses import replace

import numpy as np
import pytest

from epsam.cam.postprocess import threshold_and_open
from epsam.config.masks import MaskOptions
from epsam.core.errors import DatasetError
from epsam.core.files import read_table
from epsam.data.cam_store import CamStore
from epsam.data.holes import fill_mask_holes
from epsam.data.images import read_rgb, write_mask, write_rgb
from epsam.data.patches import Patch
from epsam.evaluation.threshold_search import search_grid, select_best, write_grid
from epsam.metrics import count_pixels, macro_dice_iou
from epsam.tables import GRID_SEARCH_COLUMNS

OPTIONS = MaskOptions(grid_quantiles=(0.1, 0.5, 0.9), grid_kernels=(0, 3))


@pytest.fixture
def case(tmp_path):
    rng = np.random.default_rng(0)
    patches, maps = [], {}
    for name in ("a_1", "b_1", "c_1"):
        image, mask = tmp_path / "image" / f"{name}.png", tmp_path / "mask" / f"{name}.png"
        write_rgb(image, np.zeros((32, 32, 3), np.uint8))
        write_mask(mask, rng.random((32, 32)) < 0.4)
        patches.append(Patch(name, 1, image, mask if name != "c_1" else None))
        maps[name] = rng.random((8, 8)).astype(np.float32)
    return CamStore("sum", maps, {}), patches


def test_every_pair_is_scored_by_its_masks_over_the_patches_with_ground_truth(case):
    cams, patches = case
    rows = search_grid(cams, patches, OPTIONS)
    assert [(row["quantile"], row["open_kernel"]) for row in rows] == [
        (0.1, 0),
        (0.1, 3),
        (0.5, 0),
        (0.5, 3),
        (0.9, 0),
        (0.9, 3),
    ]
    for row in rows:
        overlaps = []
        for patch in patches[:2]:
            mask = threshold_and_open(
                cams.maps[patch.name], 32, 32, row["quantile"], row["open_kernel"], "cam"
            )
            overlaps.append(count_pixels(mask, patch.ground_truth()))
        assert (row["dice"], row["iou"]) == macro_dice_iou(overlaps)
        assert row["patches"] == 2


def test_with_fill_holes_the_masks_of_the_grid_have_none(case):
    cams, patches = case
    options = replace(OPTIONS, fill_holes=True, grid_quantiles=(0.5,), grid_kernels=(0,))
    (row,) = search_grid(cams, patches, options)
    overlaps = []
    for patch in patches[:2]:
        mask = threshold_and_open(cams.maps[patch.name], 32, 32, 0.5, 0, "cam")
        overlaps.append(count_pixels(fill_mask_holes(mask), patch.ground_truth()))
    assert row["dice"] == macro_dice_iou(overlaps)[0]
    (with_holes,) = search_grid(cams, patches, replace(options, fill_holes=False))
    assert row["dice"] != with_holes["dice"]


def test_the_best_is_the_first_of_the_highest_dice():
    rows = [
        {"quantile": q, "open_kernel": 0, "dice": d}
        for q, d in ((0.1, 0.3), (0.2, 0.7), (0.3, 0.7), (0.4, 0.1))
    ]
    assert select_best(rows) == (0.2, 0)


def test_the_whole_grid_is_written_as_table_and_heat_map(case, tmp_path):
    rows = search_grid(*case, OPTIONS)
    write_grid(tmp_path / "grid_search.csv", rows)
    table = read_table(tmp_path / "grid_search.csv", GRID_SEARCH_COLUMNS)
    assert [float(row["dice"]) for row in table] == pytest.approx(
        [row["dice"] for row in rows], abs=1e-6
    )
    assert read_rgb(tmp_path / "grid_search.png").shape[2] == 3


def test_there_must_be_ground_truth_and_something_to_search(case):
    cams, patches = case
    with pytest.raises(DatasetError, match="no validation patch has a ground-truth mask"):
        search_grid(cams, patches[2:], OPTIONS)
    with pytest.raises(DatasetError, match="cuts at no quantile"):
        search_grid(cams, patches, MaskOptions(postprocess="crf"))
