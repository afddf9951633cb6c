"""The search of quantile and kernel by patch labels, with classifiers that count what is blue."""

import numpy as np
import pytest
import torch

from epsam.config.masks import MaskOptions
from epsam.core.device import DeviceConfig
from epsam.core.errors import DatasetError
from epsam.data.cam_store import CamStore
from epsam.data.images import write_rgb
from epsam.data.patches import Patch
from epsam.evaluation.evidence_search import judge_masks, mean_colour, search_grid_by_evidence
from epsam.evaluation.threshold_search import select_best, write_grid
from epsam.tables import GRID_SEARCH_COLUMNS
from support.tables import read_rows

SIDE = 32
ON_CPU = DeviceConfig(torch.device("cpu"), None)
PINK, BLUE = (230, 170, 200), (90, 60, 150)
OPTIONS = MaskOptions(grid_quantiles=(0.0, 0.25, 0.5, 0.75), grid_kernels=(0,), batch_size=2)


class BlueCounter(torch.nn.Module):
    """Its logit is the number of blue pixels, less a half of all."""

    def __init__(self, sign=1):
        super().__init__()
        self.sign = sign

    def forward(self, images):
        blue = (images[:, 0] < 0.5).float().sum(dim=(1, 2))
        return self.sign * (blue - SIDE * SIDE / 2)


def patch_with_tumour(folder, name, tumour):
    image = np.full((SIDE, SIDE, 3), PINK, np.uint8)
    image[tumour] = BLUE
    write_rgb(folder / f"{name}.png", image)
    return Patch(name, int(name[-1]), folder / f"{name}.png", None)


@pytest.fixture
def validation(tmp_path):
    """Positives whose left half is tumour, with a CAM that falls from left to right."""
    tumour = np.zeros((SIDE, SIDE), bool)
    tumour[:, :16] = True
    cam = np.linspace(1, 0.1, SIDE, dtype=np.float32)[None, :].repeat(SIDE, axis=0)
    positives = [patch_with_tumour(tmp_path, f"p{number}_1", tumour) for number in range(2)]
    negatives = [patch_with_tumour(tmp_path, "n_0", np.zeros_like(tumour))]
    return CamStore("sum", {patch.name: cam for patch in positives}, {}), positives, negatives


def test_a_mask_is_judged_by_the_evidence_that_it_holds_less_its_area():
    image = np.full((SIDE, SIDE, 3), PINK, np.uint8)
    image[:8] = BLUE
    half, whole, twice, beside = (np.zeros((SIDE, SIDE), bool) for _ in range(4))
    half[:4], whole[:8], twice[:16], beside[8:16] = True, True, True, True
    masks = [half, whole, twice, beside]
    colour = np.array(PINK, np.float32) / 255
    scores = judge_masks(BlueCounter(), image, masks, colour, 3, ON_CPU)
    # A quarter of the patch is tumour.
    assert scores == pytest.approx([0.5 - 0.125, 1 - 0.25, 1 - 0.5, 0 - 0.25])
    # A classifier that finds less tumour in the patch than in an empty one has no evidence.
    assert judge_masks(BlueCounter(sign=-1), image, masks, colour, 3, ON_CPU) == []


def test_the_quantile_of_the_tumours_own_mask_wins_without_any_ground_truth(validation, tmp_path):
    cams, positives, negatives = validation
    rows = search_grid_by_evidence(BlueCounter(), cams, positives, negatives, SIDE, OPTIONS, ON_CPU)
    # Half of the patch is tumour: all of it, three quarters, just it, half of it.
    assert [row["evidence"] for row in rows] == pytest.approx([0, 0.25, 0.5, 0.25])
    assert {row["patches"] for row in rows} == {2}
    assert select_best(rows, "evidence") == (0.5, 0)

    write_grid(tmp_path / "grid_search.csv", rows, "evidence")
    table = read_rows(tmp_path / "grid_search.csv")
    assert list(table[0]) == [*GRID_SEARCH_COLUMNS, "evidence"]
    assert (table[2]["evidence"], table[2]["dice"]) == ("0.500000", "")
    assert (tmp_path / "grid_search.png").is_file()


def test_what_is_erased_takes_the_mean_colour_of_negatives(validation, tmp_path):
    _, _, (negative,) = validation
    half = np.zeros((SIDE, SIDE), bool)
    half[:16] = True
    other = patch_with_tumour(tmp_path, "m_0", half)
    expected = (0.75 * np.array(PINK) + 0.25 * np.array(BLUE)) / 255
    assert mean_colour([negative, other], SIDE) == pytest.approx(expected, abs=1e-6)


def test_it_needs_both_labels_a_quantile_and_a_classifier_that_sees_something(validation):
    cams, positives, negatives = validation
    model = BlueCounter()
    crf = MaskOptions(postprocess="crf")
    with pytest.raises(DatasetError, match="2 patches with tumour and 0 without"):
        search_grid_by_evidence(model, cams, positives, [], SIDE, OPTIONS, ON_CPU)
    with pytest.raises(DatasetError, match="neither quantile nor kernel"):
        search_grid_by_evidence(model, cams, positives, negatives, SIDE, crf, ON_CPU)
    with pytest.raises(DatasetError, match="sees no tumour in any validation patch"):
        search_grid_by_evidence(BlueCounter(-1), cams, positives, negatives, SIDE, OPTIONS, ON_CPU)
