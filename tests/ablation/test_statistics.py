import math

import pytest

from epsam.ablation.statistics import mean_over_seeds, mean_sd, paired_difference


def test_mean_and_sample_deviation():
    assert mean_sd([1.0, 2.0, 6.0]) == pytest.approx((3.0, math.sqrt(7)))
    mean, deviation = mean_sd([2.0])
    assert (mean, math.isnan(deviation)) == (2.0, True)
    assert all(math.isnan(value) for value in mean_sd([]))


def test_patches_are_averaged_over_the_seeds_that_all_have():
    assert mean_over_seeds([{"a": 0.2, "b": 1.0}, {"a": 0.4, "c": 1.0}]) == {
        "a": pytest.approx(0.3)
    }
    assert mean_over_seeds([]) == {}


def test_an_equal_gain_everywhere_has_an_interval_of_no_width():
    first = {str(n): n / 10 for n in range(5)}
    difference = paired_difference(
        first, {name: value + 0.25 for name, value in first.items()}, 100
    )
    assert (difference.mean, difference.low, difference.high, difference.patches) == pytest.approx(
        (0.25, 0.25, 0.25, 5)
    )


def test_pairs_are_kept_together_and_the_interval_is_that_of_the_binomial_law():
    # 100 patches differ by +1 in 60 and by -1 in 40: mean 0.2, deviation of the mean sqrt(1 - 0.04)
    # / 10 = 0.098.
    first = {str(n): float(n) for n in range(100)}
    second = {str(n): n + (1.0 if n < 60 else -1.0) for n in range(100)}
    difference = paired_difference(first, second)
    assert difference.mean == pytest.approx(0.2)
    assert difference.low == pytest.approx(0.2 - 1.96 * 0.098, abs=0.02)
    assert difference.high == pytest.approx(0.2 + 1.96 * 0.098, abs=0.02)
    assert paired_difference(first, second) == difference


def test_only_common_patches_count_and_without_any_there_is_no_figure():
    assert paired_difference({"a": 0.1, "b": 0.2}, {"b": 0.5, "c": 0.9}, 10).patches == 1
    assert math.isnan(paired_difference({"a": 0.1}, {"c": 0.9}, 10).mean)


def test_the_interval_goes_by_case_where_cases_are_stated():
    """Two cases of equal patches: resampled, both, or one of them twice (1/4, 1/2, 1/4)."""
    first = dict.fromkeys("abcdef", 0.0)
    second = {**dict.fromkeys("abc", 0.0), **dict.fromkeys("def", 0.6)}
    cases = dict(zip("abcdef", "xxxyyy", strict=True))
    difference = paired_difference(first, second, cases=cases)
    assert difference.mean == pytest.approx(0.3)
    assert (difference.low, difference.high) == pytest.approx((0.0, 0.6))
    by_patch = paired_difference(first, second)
    assert by_patch.low > 0.0
    # A case of one patch each says nothing new.
    alone = {name: name for name in first}
    assert paired_difference(first, second, cases=alone) == by_patch
