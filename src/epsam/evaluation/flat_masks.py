"""Masks that tell no pixel from another: all of every patch, or nothing of any."""

from collections.abc import Sequence

from epsam.evaluation.score_run import SplitScores
from epsam.metrics import sum_counts
from epsam.tables import ALL_FILLED, FILL


def describe_flat_predictors(scores: Sequence[SplitScores]) -> list[str]:
    """A sentence for each predictor that marks all of every patch of a split, or nothing of
    any.
    """
    # Of `fill`, which marks every positive patch whole: the area of a split.
    whole = {}
    for of_split in scores:
        if of_split.predictor == FILL:
            whole[of_split.split] = _predicted_area(of_split)

    sentences = []
    for of_split in scores:
        if of_split.predictor in (FILL, ALL_FILLED):
            continue
        area = _predicted_area(of_split)
        if area in (0, whole.get(of_split.split)):
            what = "marks all of every patch" if area else "marks nothing in any patch"
            sentences.append(f"{of_split.predictor} {what} with tumour of {of_split.split}")
    return sentences


def _predicted_area(scores: SplitScores) -> int:
    return sum_counts([patch.overlap for patch in scores.patches]).predicted
