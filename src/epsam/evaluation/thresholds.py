"""The threshold of the gate from patch labels alone, and thresholds.json of a run, by which
inference takes what evaluation has found.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from epsam.config.inference import GateOptions, InferOptions, MaskThresholdOptions
from epsam.core.errors import DatasetError
from epsam.core.files import read_json, write_json
from epsam.metrics import sensitivity_specificity
from epsam.paths import RunPaths

DEFAULT_GATE = GateOptions.gate_threshold


@dataclass(frozen=True)
class RunThresholds:
    """gate: the threshold that the run was scored with; 0 without a gate. gate_on_validation: what
    separates the validation patches best; None if they lack one of the labels. mask: the threshold
    of the masks that were scored. mask_on_validation: what agrees best with the initial masks; None
    if it was not looked for.
    """

    gate: float
    gate_on_validation: float | None
    mask: float = MaskThresholdOptions.mask_threshold
    mask_on_validation: float | None = None


def choose_gate_threshold(probabilities: Sequence[float], labels: Sequence[int]) -> float | None:
    """The threshold of the highest sum of sensitivity and specificity (Youden's index); None
    without positives or without negatives.

    It lies in the middle between two neighbouring probabilities; of equally good ones, it is that
    closest to 0.5.
    """
    if len(set(labels)) < 2:
        return None
    scores = np.unique(np.asarray(probabilities, dtype=np.float64))
    candidates = ((scores[:-1] + scores[1:]) / 2).tolist()
    # Where all probabilities are equal, no threshold separates anything.
    best = DEFAULT_GATE
    best_index = -1.0
    for threshold in sorted(candidates, key=lambda value: abs(value - DEFAULT_GATE)):
        sensitivity, specificity = sensitivity_specificity(probabilities, labels, threshold)
        # Sums of fractions may differ in their last bit.
        if sensitivity + specificity > best_index + 1e-9:
            best, best_index = threshold, sensitivity + specificity
    return best


def resolve_gate_threshold(options: GateOptions, on_validation: float | None) -> float:
    """The probability from which on a patch is segmented; 0 without a gate.

    Raises DatasetError if it is to be found on validation, which lacks one of the labels.
    """
    if not options.classifier_gate:
        return 0.0
    if options.gate_from == "fixed":
        return options.gate_threshold
    if on_validation is None:
        raise DatasetError(
            "--gate_from validation: the validation split has no patches of one of the labels; add "
            "some, or set --gate_threshold"
        )
    return on_validation


def save_thresholds(run: RunPaths, thresholds: RunThresholds) -> None:
    """Write thresholds.json."""
    write_json(run.thresholds, asdict(thresholds))


def load_thresholds(run: RunPaths) -> RunThresholds | None:
    """Those of the run; None if it was not evaluated, or by an earlier version."""
    if not run.thresholds.is_file():
        return None
    content = read_json(run.thresholds)
    names = {field.name for field in fields(RunThresholds)}
    return RunThresholds(**{name: value for name, value in content.items() if name in names})


def resolve_inference_thresholds(options: InferOptions) -> InferOptions:
    """The options with the thresholds of the run, where they are to be found on validation.

    Raises DatasetError if the run does not hold them.
    """
    thresholds = load_thresholds(RunPaths.of(options))
    if options.gate_from == "validation":
        if thresholds is None:
            raise _not_evaluated(options, "gate_from", "gate_threshold")
        gate = resolve_gate_threshold(options, thresholds.gate_on_validation)
        options = replace(options, gate_threshold=gate)
    if options.mask_threshold_from == "validation":
        if thresholds is None or thresholds.mask_on_validation is None:
            raise _not_evaluated(options, "mask_threshold_from", "mask_threshold")
        options = replace(options, mask_threshold=thresholds.mask_on_validation)
    return options


def _not_evaluated(options: InferOptions, flag: str, instead: str) -> DatasetError:
    path = RunPaths.of(options).thresholds
    return DatasetError(
        f"--{flag} validation: {path} does not hold it; run evaluate.py with that flag on the run, "
        f"or set --{instead}"
    )
