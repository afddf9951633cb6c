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
from epsam.evaluation.evidence_search import judge_masks, search_grid_by_evidence
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
    normal = np.full((SIDE, SIDE, 3), PINK, np.uint8)
    scores = judge_masks(BlueCounter(), image, masks, normal, 3, ON_CPU)
    # A quarter of the patch is tumour.
    assert scores == pytest.approx([0.5 - 0.125, 1 - 0.25, 1 - 0.5, 0 - 0.25])
    # A classifier that finds less tumour in the patch than in a normal one has no evidence.
    assert judge_masks(BlueCounter(sign=-1), image, masks, normal, 3, ON_CPU) == []


def test_evidence_is_the_mean_of_what_is_lost_without_the_mask_and_kept_with_it_alone():
    class AnyPink(torch.nn.Module):
        """Tumour (1) only if a quarter of the patch at most is pink, as one hole is enough."""

        def forward(self, images):
            pink = (images[:, 0] > 0.5).float().mean(dim=(1, 2))
            return (pink <= 0.25).float()

    image = np.full((SIDE, SIDE, 3), BLUE, np.uint8)
    normal = np.full((SIDE, SIDE, 3), PINK, np.uint8)
    masks = [np.zeros((SIDE, SIDE), bool) for _ in range(3)]
    masks[0][:4], masks[1][:16], masks[2][:28] = True, True, True
    scores = judge_masks(AnyPink(), image, masks, normal, 4, ON_CPU)
    # An eighth: nothing lost, nothing kept. A half: all lost, nothing kept. Seven: both.
    assert scores == pytest.approx([0 - 1 / 8, 1 / 2 - 1 / 2, 1 - 7 / 8])


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


def test_what_is_pasted_comes_from_another_negative_for_each_positive(validation, tmp_path):
    cams, positives, (negative,) = validation
    seen = []

    class Noting(BlueCounter):
        def forward(self, images):
            seen.extend(images[:, 0].mean(dim=(1, 2)).tolist())
            return super().forward(images)

    tumour = np.zeros((SIDE, SIDE), bool)
    tumour[:2] = True
    other = patch_with_tumour(tmp_path, "m_0", tumour)
    negatives = [negative, other]
    search_grid_by_evidence(Noting(), cams, positives, negatives, SIDE, OPTIONS, ON_CPU)
    # The second image of each positive is the normal patch alone: 2 images and 2 for each of 4
    # pairs. The other negative has a sixteenth of blue.
    pink, blue = PINK[0] / 255, BLUE[0] / 255
    expected = [pink, pink + (blue - pink) / 16]
    assert [seen[1], seen[11]] == pytest.approx(expected, abs=1e-4)


def test_it_needs_both_labels_a_quantile_and_a_classifier_that_sees_something(validation):
    cams, positives, negatives = validation
    model = BlueCounter()
    crf = MaskOptions(postprocess="crf")
    with pytest.raises(DatasetError, match="2 patches with tumour and 0 without"):
        search_grid_by_evidence(model, cams, positives, [], SIDE, OPTIONS, ON_CPU)
    with pytest.raises(DatasetError, match="cuts at no quantile"):
        search_grid_by_evidence(model, cams, positives, negatives, SIDE, crf, ON_CPU)
    with pytest.raises(DatasetError, match="sees no tumour in any validation patch"):
        search_grid_by_evidence(BlueCounter(-1), cams, positives, negatives, SIDE, OPTIONS, ON_CPU)
