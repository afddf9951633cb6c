"""Distances between borders, and scores of images and cases, by hand and by brute force."""

import numpy as np
import pytest

import evaluate
from epsam.core.files import read_table
from epsam.data.cases import PatchGroups
from epsam.evaluation.image_scores import ImageScores, NegativeCounts, PatchScore
from epsam.evaluation.score_run import SplitScores
from epsam.evaluation.surfaces import SurfaceDistances, find_border, measure_surfaces
from epsam.metrics import PixelCounts, count_pixels
from epsam.paths import RunPaths


def square(top, left, side, size=12):
    mask = np.zeros((size, size), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_a_border_has_the_pixels_beside_what_is_outside():
    # Of 4 × 4 pixels, all but the four in the middle; the image's edge is outside, too.
    assert len(find_border(square(3, 3, 4))) == 12
    assert len(find_border(square(0, 0, 4))) == 12
    assert find_border(square(5, 2, 1)).tolist() == [[5, 2]]
    # Diagonal neighbours do not count: the one of a missing corner is no border.
    mask = square(2, 2, 5)
    mask[2, 2] = False
    assert [3, 3] not in find_border(mask).tolist()


def test_two_pixels_and_equal_masks_by_hand():
    # 3 down and 4 to the right: 5 px.
    assert measure_surfaces(square(1, 1, 1), square(4, 5, 1)) == SurfaceDistances(5, 5)
    assert measure_surfaces(square(3, 3, 4), square(3, 3, 4)) == SurfaceDistances(0, 0)


def test_distances_of_any_masks_are_those_of_a_double_loop():
    rng = np.random.default_rng(0)
    for _ in range(10):
        first, second = rng.random((2, 9, 7)) < 0.2
        distances = []
        for here, there in ((first, second), (second, first)):
            others = find_border(there)
            for place in find_border(here):
                distances.append(min(np.hypot(*(place - other)) for other in others))
        measured = measure_surfaces(first, second)
        assert measured.assd == pytest.approx(np.mean(distances))
        assert measured.hd95 == pytest.approx(np.percentile(distances, 95))


def test_an_empty_mask_has_no_distance():
    empty = np.zeros((12, 12), dtype=bool)
    assert measure_surfaces(square(1, 1, 2), empty) is None
    assert measure_surfaces(empty, square(1, 1, 2)) is None


def test_images_and_cases_are_averaged_and_empty_pairs_counted_apart():
    scores = ImageScores({"a1": "A", "a2": "A", "b1": "B", "b2": "B"})
    # Dice 1 and ½, Jaccard 1 and ⅓ of case A; 0 of case B, where one image is marked wrongly.
    scores.add("a1", PixelCounts(4, 4, 4), SurfaceDistances(0, 0))
    scores.add("a2", PixelCounts(2, 4, 4), SurfaceDistances(2, 4))
    scores.add_negatives(["b1"], 5)
    scores.add("b2", PixelCounts(0, 0, 0), None)
    columns = scores.summary_columns()
    assert (columns["images"], columns["both_empty"], columns["cases"]) == (3, 6, 2)
    assert columns["image_dice"] == pytest.approx(0.5)
    assert columns["jaccard"] == pytest.approx((1 + 1 / 3) / 3, abs=1e-6)
    assert columns["case_dice"] == pytest.approx((0.75 + 0) / 2)
    assert columns["case_jaccard"] == pytest.approx((2 / 3 + 0) / 2, abs=1e-6)
    assert (columns["assd"], columns["hd95"]) == (1, 2)
    # Case B has no distance.
    assert (columns["case_assd"], columns["case_hd95"]) == (1, 2)


def test_without_cases_or_images_columns_stay_empty():
    scores = ImageScores({})
    assert scores.summary_columns()["jaccard"] == ""
    overlap = count_pixels(square(1, 1, 2), square(1, 1, 2))
    scores.add("a", overlap, None)
    columns = scores.summary_columns()
    assert (columns["image_dice"], columns["assd"]) == (1, "")
    assert "cases" not in columns


@pytest.mark.parametrize(("column", "cases"), [("case", "2"), ("slide", "")])
def test_evaluation_csv_ends_with_them_and_averages_over_cases_alone(tmp_path, column, cases):
    patches = [
        PatchScore("a_1", PixelCounts(4, 4, 4), None, 9, SurfaceDistances(1, 2)),
        PatchScore("b_1", PixelCounts(0, 4, 4), None, 9, SurfaceDistances(3, 4)),
    ]
    scores = SplitScores("test", "round 1", patches, NegativeCounts(2, 18, 1, ("c_0",)))
    run = RunPaths(tmp_path)
    groups = PatchGroups(column, {"a_1": "A", "b_1": "B", "c_0": "B"})
    evaluate.write_scores(run, [scores], groups)
    (row,) = read_table(run.evaluation, ())
    assert list(row)[-11:-5] == ["images", "both_empty", "image_dice", "jaccard", "assd", "hd95"]
    assert [float(row[name]) for name in ("images", "both_empty", "assd", "hd95")] == [3, 1, 2, 3]
    assert row["cases"] == cases
    assert row["case_dice"] == ("0.5" if cases else "")
