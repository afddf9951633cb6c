"""The classifier's tumour probabilities of all patches, and which negatives pass its gate."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from epsam.config.evaluation import EvaluateOptions
from epsam.config.inference import GateOptions
from epsam.config.masks import MaskRule
from epsam.config.metadata import merge_fields
from epsam.core.device import DeviceConfig, select_device
from epsam.core.errors import WeightsError
from epsam.core.files import read_json
from epsam.data.patches import Patch
from epsam.evaluation.thresholds import (
    RunThresholds,
    choose_gate_threshold,
    resolve_gate_threshold,
)
from epsam.metrics import auroc, sensitivity_specificity
from epsam.paths import RunPaths
from epsam.training.cams import compute_cams
from epsam.training.normal_patches import load_mask_classifier
from epsam.training.round_data import find_mask_classifier
from epsam.weak.registry import load_weak_model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Classification:
    """The patches of a split with the classifier's tumour probability of each, by patch name.

    threshold: the gate's; 0 without a gate, so that everything passes.
    """

    split: str
    patches: Sequence[Patch]
    probabilities: Mapping[str, float]
    threshold: float

    @property
    def negatives(self) -> list[Patch]:
        """The patches without tumour."""
        return [patch for patch in self.patches if patch.label == 0]

    def passed_negatives(self) -> list[Patch]:
        """The negatives that the gate takes for tumour, so that they are segmented."""
        passed = []
        for patch in self.negatives:
            if self.probabilities[patch.name] >= self.threshold:
                passed.append(patch)
        return passed

    def summary_columns(self) -> dict[str, Any]:
        """The classifier's columns of evaluation.csv."""
        labels = [patch.label or 0 for patch in self.patches]
        scores = [self.probabilities[patch.name] for patch in self.patches]
        sensitivity, specificity = sensitivity_specificity(scores, labels, self.threshold)
        positives = sum(labels)
        return {
            "negatives": len(labels) - positives,
            "positives": positives,
            "auroc": round_or_empty(auroc(scores, labels)),
            "sensitivity": round_or_empty(sensitivity),
            "specificity": round_or_empty(specificity),
        }

    def patch_rows(self) -> list[dict[str, Any]]:
        """A row of evaluation_classifier.csv for each patch."""
        rows = []
        for patch in self.patches:
            row = {
                "split": self.split,
                "id": patch.name,
                "label": patch.label,
                "probability": round(self.probabilities[patch.name], 6),
            }
            rows.append(row)
        return rows


def classify_splits(
    options: EvaluateOptions, run: RunPaths, patches_by_split: Mapping[str, list[Patch]], size: int
) -> dict[str, Classification]:
    """Classify all patches, of size × size px, of every split that has any.

    Empty, with a warning, if the classifier of the run's masks is no longer there.
    """
    device_config = select_device(options.device, options.precision)
    path, checksum = find_mask_classifier(run)
    try:
        model = load_mask_classifier(path, checksum, device_config)
    except WeightsError as error:
        log.warning("%s; negatives and the classifier are not scored", error)
        return {}

    rule = merge_fields(MaskRule, read_json(run.mask_rule))
    return _classify(model, rule, options, patches_by_split, size, device_config)


def classify_by_gate_classifier(
    options: EvaluateOptions, run: RunPaths, patches_by_split: Mapping[str, list[Patch]], size: int
) -> dict[str, Classification]:
    """The same by the classifier of the run whose pseudo-labels a segmenter has learnt from."""
    device_config = select_device(options.device, options.precision)
    model = load_weak_model(run.gate_classifier, device_config)
    return _classify(model, MaskRule(), options, patches_by_split, size, device_config)


def _classify(
    model: Any,
    rule: MaskRule,
    options: EvaluateOptions,
    patches_by_split: Mapping[str, list[Patch]],
    size: int,
    device_config: DeviceConfig,
) -> dict[str, Classification]:
    # The gate looks at the upright patch alone: one pass instead of four.
    upright = replace(rule, refine="none", rotations=1)
    probabilities = {}
    for split, patches in patches_by_split.items():
        if patches:
            cams = compute_cams(
                model, "", patches, size, upright, options.batch_size, device_config
            )
            probabilities[split] = cams.probabilities
    return gate_patches(options, patches_by_split, probabilities)


def gate_patches(
    options: GateOptions,
    patches_by_split: Mapping[str, list[Patch]],
    probabilities: Mapping[str, Mapping[str, float]],
) -> dict[str, Classification]:
    """The classifications by the patches' probabilities of each split, behind the gate of the
    options.
    """
    threshold = resolve_gate_threshold(
        options, _choose_on_validation(patches_by_split, probabilities)
    )
    classifications = {}
    for split, of_split in probabilities.items():
        classifications[split] = Classification(split, patches_by_split[split], of_split, threshold)
    return classifications


def find_thresholds(classifications: Mapping[str, Classification]) -> RunThresholds | None:
    """What thresholds.json holds; None if nothing was classified."""
    if not classifications:
        return None
    patches = {split: of_split.patches for split, of_split in classifications.items()}
    probabilities = {split: of_split.probabilities for split, of_split in classifications.items()}
    threshold = next(iter(classifications.values())).threshold
    return RunThresholds(threshold, _choose_on_validation(patches, probabilities))


def _choose_on_validation(
    patches: Mapping[str, Sequence[Patch]], probabilities: Mapping[str, Mapping[str, float]]
) -> float | None:
    of_validation = probabilities.get("val", {})
    scores = []
    labels = []
    for patch in patches.get("val", ()):
        scores.append(of_validation[patch.name])
        labels.append(patch.label or 0)
    return choose_gate_threshold(scores, labels)


def round_or_empty(value: float) -> float | str:
    """A number of a table; what cannot be computed is left empty."""
    return "" if math.isnan(value) else round(value, 6)
