"""Means over seeds, and the interval of a difference between two runs on the same patches."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from epsam.core.seeding import generator

Scores = Mapping[str, float]
"""A figure for each patch, by the patch's name."""

DRAWS = 10_000
SEED = 22
"""Ours: the interval of the same scores is always the same."""
COVERAGE = 0.95


@dataclass(frozen=True)
class Difference:
    """A mean difference over patches with its bootstrap interval; all nan without common
    patches.
    """

    mean: float
    low: float
    high: float
    patches: int


def mean_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n − 1); the latter is nan for a single value, both
    without any.
    """
    if not values:
        return math.nan, math.nan
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def over_seeds(scores: Sequence[Scores]) -> dict[str, float]:
    """Each patch's mean over several runs, for the patches that are in all of them."""
    common = set.intersection(*(set(found) for found in scores)) if scores else set()
    return {name: float(np.mean([found[name] for found in scores])) for name in sorted(common)}


def paired_difference(
    first: Scores, second: Scores, draws: int = DRAWS, seed: int = SEED
) -> Difference:
    """Mean of second − first over their common patches, and its percentile bootstrap interval.

    Patches are drawn anew with replacement, both runs' figures of a patch together, so what the
    interval covers is the choice of patches: patches of one slide resemble each other, and other
    seeds differ too, of which it knows nothing.
    """
    names = sorted(set(first) & set(second))
    if not names:
        return Difference(math.nan, math.nan, math.nan, 0)
    differences = np.array([second[name] - first[name] for name in names])
    rng = generator(seed, "bootstrap", len(names))
    means = [
        float(differences[rng.integers(0, len(names), len(names))].mean()) for _ in range(draws)
    ]
    low, high = np.quantile(means, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Difference(float(differences.mean()), float(low), float(high), len(names))
