"""The threshold of a mask without ground truth: where a predictor agrees best with the initial
masks of the validation split (this project).
"""

from collections.abc import Sequence

from epsam.core.errors import DatasetError
from epsam.data.images import read_mask
from epsam.data.patches import Patch
from epsam.evaluation.predictors import ProbabilityPredictor
from epsam.metrics import PixelCounts, count_pixels, macro_dice_iou
from epsam.paths import RunPaths
from epsam.training.round_data import initial_mask_path

VALIDATION = "val"
CANDIDATES = (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9)
"""This project: of equally good ones the first is taken, which is closest to 0.5."""


def choose_mask_threshold(
    predictor: ProbabilityPredictor, run: RunPaths, patches: Sequence[Patch]
) -> float:
    """The candidate of the highest macro Dice between the predictor's masks of validation patches
    and their initial masks.

    Raises DatasetError without patches.
    """
    if not patches:
        raise DatasetError(
            "--mask_threshold_from validation: the validation split has no patch with tumour; add "
            "some, or set --mask_threshold"
        )
    counts: dict[float, list[PixelCounts]] = {threshold: [] for threshold in CANDIDATES}
    probabilities = predictor.probabilities(VALIDATION, patches)
    for patch, probability in zip(patches, probabilities, strict=True):
        initial_mask = read_mask(initial_mask_path(run, VALIDATION, patch))
        for threshold in CANDIDATES:
            counts[threshold].append(count_pixels(probability > threshold, initial_mask))

    def score(threshold: float) -> float:
        dice, _ = macro_dice_iou(counts[threshold])
        return dice

    return max(CANDIDATES, key=score)
