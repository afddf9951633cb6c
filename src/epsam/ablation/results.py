"""The scores that a run's evaluation wrote, by split and predictor."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from epsam.ablation.paper_tables import FINAL, TableLine
from epsam.ablation.statistics import PATCH
from epsam.core.errors import DatasetError
from epsam.core.files import read_numbers, read_table
from epsam.paths import RunPaths
from epsam.tables import (
    ALL_FILLED,
    CASE_COLUMN,
    FILL,
    INITIAL,
    PATCH_SCORE_COLUMNS,
    SCORE_COLUMNS,
    SLIDE_COLUMN,
    ZERO_SHOT,
)

ScoreKey = tuple[str, str]
"""(split, predictor)"""

NO_ROUNDS = (FILL, ALL_FILLED, INITIAL, ZERO_SHOT)
"""Predictors that are not the last decoder of a run, whatever comes after them."""


@dataclass(frozen=True)
class PatchMetrics:
    """Dice and IoU of each patch, and its case or slide where one is stated, by patch name.

    drawn: what an interval draws: case, slide or patch.
    """

    dice: Mapping[str, float]
    iou: Mapping[str, float]
    cases: Mapping[str, str] = field(default_factory=dict)
    drawn: str = PATCH


def read_scores(run: RunPaths) -> dict[ScoreKey, PatchMetrics]:
    """The scores of evaluation_patches.csv; FINAL stands for a run's last decoder.

    Raises DatasetError if the run was not evaluated.
    """
    if not run.patch_scores.is_file():
        raise DatasetError(f"{run.patch_scores}: no such file; run evaluate.py on that run first")
    rows = read_numbers(
        run.patch_scores,
        PATCH_SCORE_COLUMNS,
        {"dice": float, "iou": float},
        "run evaluate.py again",
    )

    # Scores stay by patch: differences between runs are paired by patch.
    dice: dict[ScoreKey, dict[str, float]] = {}
    iou: dict[ScoreKey, dict[str, float]] = {}
    cases: dict[str, str] = {}
    drawn = PATCH
    for row in rows:
        key = (row["split"], row["what"])
        for column in (SLIDE_COLUMN, CASE_COLUMN):
            if row.get(column):
                cases[row["id"]] = row[column]
                drawn = column
        dice.setdefault(key, {})[row["id"]] = float(row["dice"])
        iou.setdefault(key, {})[row["id"]] = float(row["iou"])

    scores: dict[ScoreKey, PatchMetrics] = {}
    for split, predictor in dice:
        metrics = PatchMetrics(dice[split, predictor], iou[split, predictor], cases, drawn)
        scores[split, predictor] = metrics
        # Rounds are scored in their order, so the last one of a split stays.
        if predictor not in NO_ROUNDS:
            scores[split, FINAL] = metrics
    return scores


def find_score(line: TableLine, scores: Mapping[ScoreKey, Any]) -> ScoreKey | None:
    """The key of a line's predictor in the scores of a run; None if it has no such predictor.

    A network that stands in for the published one says so in its name: "wsss_tissue (resnet18)".
    """
    for split, predictor in scores:
        is_same = predictor == line.predictor or predictor.startswith(f"{line.predictor} (")
        if split == line.split and is_same:
            return split, predictor
    return None


def read_all_patches_iou(run: RunPaths) -> dict[ScoreKey, float]:
    """The micro IoU over all patches, negatives counted, where evaluation.csv has one."""
    if not run.evaluation.is_file():
        return {}
    scores: dict[ScoreKey, float] = {}
    for row in read_table(run.evaluation, SCORE_COLUMNS):
        # Evaluations of earlier versions have no such column.
        if row.get("all_iou"):
            scores[row["split"], row["what"]] = float(row["all_iou"])
            if row["what"] not in NO_ROUNDS:
                scores[row["split"], FINAL] = float(row["all_iou"])
    return scores
