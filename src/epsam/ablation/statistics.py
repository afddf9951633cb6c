"""Means over seeds, and the interval of a difference between two runs on the same patches."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from epsam.core.seeding import generator

Scores = Mapping[str, float]
"""A metric of each patch, by the patch's name."""

BOOTSTRAP_SAMPLES = 10_000
SEED = 22
"""This project: fixed, so that the interval of the same scores is always the same."""
COVERAGE = 0.95
PATCH = "patch"
"""What the bootstrap draws where the cases of patches are not known."""


@dataclass(frozen=True)
class Difference:
    """A mean difference over patches with its bootstrap interval; all nan without common
    patches.
    """

    mean: float
    low: float
    high: float
    patches: int


def mean_over_patches(scores: Scores) -> float:
    """The macro average of a metric."""
    return sum(scores.values()) / len(scores)


def mean_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n − 1).

    The deviation of a single value is nan. Without any value both are nan.
    """
    if not values:
        return math.nan, math.nan
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return float(np.mean(values)), deviation


def mean_over_seeds(scores: Sequence[Scores]) -> dict[str, float]:
    """Each patch's mean over several runs, for the patches that are in all of them."""
    if not scores:
        return {}
    # A mean over other patches in each seed would not be comparable.
    common = set(scores[0])
    for of_seed in scores[1:]:
        common &= set(of_seed)

    means = {}
    for name in sorted(common):
        means[name] = float(np.mean([of_seed[name] for of_seed in scores]))
    return means


def paired_difference(
    first: Scores,
    second: Scores,
    samples: int = BOOTSTRAP_SAMPLES,
    seed: int = SEED,
    cases: Mapping[str, str] | None = None,
) -> Difference:
    """Mean of second − first over their common patches, and its percentile bootstrap interval.

    Patches are resampled with replacement, both runs' scores of a patch together. With `cases`
    (patch → case) whole cases are, as patches of one case resemble each other; a patch without a
    case stands alone. Other seeds differ too, of which the interval knows nothing.
    """
    names = sorted(set(first) & set(second))
    if not names:
        return Difference(math.nan, math.nan, math.nan, 0)

    differences = np.array([second[name] - first[name] for name in names])
    # Paired: a patch's difference is drawn, not the scores of its two runs apart, since most of
    # the spread between patches is common to both.
    groups = _number_groups(names, cases or {})
    n_groups = int(groups.max()) + 1
    rng = generator(seed, "bootstrap", n_groups)
    means = []
    # Without cases every patch is a group of its own; summing groups would round differently.
    is_by_patch = n_groups == len(names)
    sums = np.bincount(groups, weights=differences)
    counts = np.bincount(groups)
    for _ in range(samples):
        drawn = rng.integers(0, n_groups, n_groups)
        if is_by_patch:
            means.append(float(differences[drawn].mean()))
        else:
            means.append(float(sums[drawn].sum() / counts[drawn].sum()))

    low, high = np.quantile(means, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Difference(float(differences.mean()), float(low), float(high), len(names))


def describe_resampling(drawn: str) -> str:
    """What the bootstrap of `paired_difference` draws, in words; `drawn` is case, slide or
    patch.
    """
    if drawn != PATCH:
        return f"whole {drawn}s are drawn"
    return (
        "patches are drawn, as patches.csv states no cases or slides; where several patches are of "
        "one case, the interval is too narrow"
    )


def describe_intervals(drawn: Iterable[str]) -> str:
    """A sentence on what the intervals of several runs draw; empty if there is none."""
    texts = [describe_resampling(name) for name in dict.fromkeys(drawn)]
    return f"For an interval, {', or '.join(texts)}." if texts else ""


def _number_groups(names: Sequence[str], cases: Mapping[str, str]) -> npt.NDArray[np.int64]:
    """The number of each patch's case (N,), from 0 in their order; every other patch has its
    own.
    """
    numbers: dict[tuple[str, str], int] = {}
    groups = []
    for name in names:
        case = cases.get(name, "")
        key = ("case", case) if case else ("patch", name)
        groups.append(numbers.setdefault(key, len(numbers)))
    return np.array(groups, dtype=np.int64)
