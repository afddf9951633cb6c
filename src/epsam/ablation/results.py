"""The scores that a run's evaluation left, by split and by what made the masks."""

from collections.abc import Mapping
from dataclasses import dataclass

from epsam.ablation.paper_tables import FINAL
from epsam.core.errors import DatasetError
from epsam.core.files import read_numbers
from epsam.paths import RunPaths
from epsam.tables import INITIAL, PATCH_SCORE_COLUMNS, ZERO_SHOT

Key = tuple[str, str]
"""(split, what)"""


@dataclass(frozen=True)
class MeanScore:
    """Dice and IoU of each patch, by patch name."""

    dice: Mapping[str, float]
    iou: Mapping[str, float]


def read_scores(run: RunPaths) -> dict[Key, MeanScore]:
    """What evaluation_patches.csv holds; FINAL stands for a run's last decoder.

    Raises DatasetError if the run was not evaluated.
    """
    if not run.patch_scores.is_file():
        raise DatasetError(f"{run.patch_scores}: no such file; run evaluate.py on that run first")
    found: dict[Key, MeanScore] = {}
    dice: dict[Key, dict[str, float]] = {}
    iou: dict[Key, dict[str, float]] = {}
    for row in read_numbers(
        run.patch_scores,
        PATCH_SCORE_COLUMNS,
        {"dice": float, "iou": float},
        "run evaluate.py again",
    ):
        key = (row["split"], row["what"])
        dice.setdefault(key, {})[row["id"]] = float(row["dice"])
        iou.setdefault(key, {})[row["id"]] = float(row["iou"])
    for (split, what), values in dice.items():
        found[split, what] = MeanScore(values, iou[split, what])
        # Rounds are scored in their order, so the last one of a split stays.
        if what not in (INITIAL, ZERO_SHOT):
            found[split, FINAL] = found[split, what]
    return found
