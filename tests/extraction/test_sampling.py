import numpy as np
import pytest

from epsam.annotations.polygons import Annotations, rasterize_tumour
from epsam.config.patches import PatchOptions
from epsam.config.presets import preset
from epsam.extraction.sampling import (
    FractionRange,
    PatchLimits,
    choose_negatives,
    choose_positives,
    make_candidate_grid,
    positive_limit,
    tile_side_and_stride_px0,
    tumour_fractions,
)

PAPER = FractionRange(0.2, 0.9)


def polygon(seed, low=-30, high=260, corners=12):
    return np.random.default_rng(seed).uniform(low, high, (corners, 2))


def test_grid_is_full_and_inside_a_slide_that_is_not_square():
    grid = make_candidate_grid(1300, 1023, 512, 256)
    assert grid.lefts_px0.tolist() == [0, 256, 512, 768]  # 768 + 512 = 1280 ≤ 1300
    assert grid.tops_px0.tolist() == [0, 256]  # 512 + 512 = 1024 > 1023
    assert grid.n_tiles == 8


def test_grid_of_a_slide_smaller_than_a_tile_is_empty():
    grid = make_candidate_grid(600, 511, 512, 256)
    assert grid.n_tiles == 0
    assert tumour_fractions(Annotations([polygon(0)]), grid).size == 0


def test_side_and_stride_scale_with_resolution():
    assert tile_side_and_stride_px0(512, 256, 1.0) == (512, 256)
    assert tile_side_and_stride_px0(512, 256, 0.5 / 0.243) == (1053, 527)


@pytest.mark.parametrize(
    ("side", "stride"), [(64, 32), (64, 64), (50, 20), (33, 47), (40, 100), (7, 3)]
)
def test_tumour_fraction_is_exact_for_any_side_and_stride(side, stride):
    annotations = Annotations([polygon(1), polygon(2, 100, 200)], [polygon(3, 60, 170)])
    grid = make_candidate_grid(250, 190, side, stride)
    mask = rasterize_tumour(annotations, 0, 0, 250, 190)
    fractions = tumour_fractions(annotations, grid)
    assert fractions.shape == (len(grid.tops_px0), len(grid.lefts_px0))
    for row, top in enumerate(grid.tops_px0):
        for column, left in enumerate(grid.lefts_px0):
            assert fractions[row, column] == mask[top : top + side, left : left + side].mean()


def test_tumour_fraction_without_annotations_is_zero_everywhere():
    assert not tumour_fractions(Annotations(), make_candidate_grid(200, 200, 64, 32)).any()


def test_annotations_outside_of_the_grid_are_harmless():
    corner = np.array([(900.0, 900.0), (950, 900), (950, 950)])
    assert not tumour_fractions(
        Annotations([corner, corner - 2000, corner * (1, -1)]),
        make_candidate_grid(200, 150, 64, 32),
    ).any()


def test_holes_count_as_no_tumour():
    square = np.array([(0.0, 0.0), (64, 0), (64, 64), (0, 64)])
    assert tumour_fractions(
        Annotations([square], [square / 2]), make_candidate_grid(64, 64, 64, 64)
    ).tolist() == [[0.75]]


def test_positive_range_excludes_both_ends():
    assert PAPER.contains(np.array([0.2, 0.2001, 0.8999, 0.9])).tolist() == [
        False,
        True,
        True,
        False,
    ]


def test_the_range_of_the_paper_has_14_bins():
    assert PAPER.n_bins == 14
    assert FractionRange(0.0, 1.0).n_bins == 20
    assert FractionRange(0.22, 0.24).n_bins == 1


def preset_limits(dataset, split):
    options = PatchOptions(**preset(dataset, "extract_patches"))
    return PatchLimits(
        options.max_per_bin[split], options.max_positive[split], options.max_negative[split]
    )


@pytest.mark.parametrize(
    ("dataset", "split", "positives", "negatives"),
    [
        ("camelyon16", 0, 6020, 6000),
        ("camelyon16", 1, 700, 700),
        ("camelyon16", 2, 2002, 2000),
        ("camelyon17", 0, 7000, 6000),
        ("camelyon17", 1, 700, 700),
        ("camelyon17", 2, 2000, 2000),
    ],
)
def test_arithmetic_of_table_1(dataset, split, positives, negatives):
    """14 bins of 430, 50 and 143 on CAMELYON16, and 2000 without bins in CAMELYON17's test split
    (docs/deviations.md, "Tumour-fraction bins").
    """
    limits = preset_limits(dataset, split)
    fractions = np.random.default_rng(0).uniform(0.2001, 0.8999, 40_000)
    assert positive_limit(limits, PAPER) == positives
    assert len(choose_positives(fractions, limits, (22, "patches", "x"))) == positives
    assert len(choose_negatives(20_000, limits, (22, "patches", "x"))) == negatives


def test_each_bin_keeps_its_limit_and_smaller_bins_are_taken_completely():
    fractions = np.concatenate([np.full(30, 0.22), np.full(4, 0.27), np.full(30, 0.88)])
    chosen = choose_positives(fractions, PatchLimits(10, 0, 0), (1,))
    assert [int((fractions[chosen] == value).sum()) for value in (0.22, 0.27, 0.88)] == [10, 4, 10]
    assert np.array_equal(chosen, np.unique(chosen))


def test_rounding_does_not_move_fractions_at_bin_edges():
    edges = np.arange(4, 18) / 20 + 1e-6
    assert len(choose_positives(np.repeat(edges, 5), PatchLimits(1, 0, 0), (1,))) == 14
    assert len(choose_positives(np.array([0.3, 0.3 + 1e-6]), PatchLimits(1, 0, 0), (1,))) == 1


def test_without_a_limit_all_are_chosen_and_no_candidates_are_no_error():
    assert choose_positives(np.full(9, 0.5), PatchLimits(0, 0, 0), (1,)).tolist() == list(range(9))
    assert len(choose_positives(np.empty(0), PatchLimits(5, 5, 5), (1,))) == 0
    assert choose_negatives(3, PatchLimits(0, 0, 10), (1,)).tolist() == [0, 1, 2]


def test_choice_depends_on_the_key_alone():
    fractions = np.random.default_rng(0).uniform(0.2, 0.9, 500)
    first, same_key, other_key = (
        choose_positives(fractions, PatchLimits(5, 0, 0), (seed, "patches")) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, same_key)
    assert not np.array_equal(first, other_key)
