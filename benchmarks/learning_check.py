"""Rows of docs/results/learning.csv: has a classifier of patch labels learnt anything?

    python benchmarks/learning_check.py demo demo-gradcam

Of the validation split, for runs with initial masks: the AUROC of patches by their tumour
probability, and the mean AUROC of pixels within positive patches by the class activation map,
beside the same of the untrained network that training began with. A method counts as learning with
at least 0.9 and 0.65.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from result_rows import append_rows

from epsam.cam.postprocess import upsample
from epsam.cam.rotation import trained_cam
from epsam.config.classifier import ClassifierOptions
from epsam.config.flags import read_stored
from epsam.config.masks import MaskRule
from epsam.core.device import select_device
from epsam.core.errors import DatasetError
from epsam.core.files import read_json, read_table, sha256_of
from epsam.data.cam_store import CamMap, CamStore, load_cams
from epsam.data.patches import Patch, list_labelled_patches, read_patch_size, select_positives
from epsam.metrics import auroc
from epsam.paths import RunPaths
from epsam.tables import CLASSIFIER_COLUMNS
from epsam.training.cams import compute_cams
from epsam.weak.registry import build_weak_model

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = (
    *("dataset", "run", "weak_model", "cam", "seed", "positives", "negatives"),
    *("patch_auroc", "pixel_auroc", "untrained_patch_auroc", "untrained_pixel_auroc", "learns"),
    *("revision", "command"),
)
SPLIT = "val"
PATCH_TARGET, PIXEL_TARGET = 0.9, 0.65


@dataclass(frozen=True)
class MapQuality:
    """AUROC of patches by probability; mean AUROC of pixels within positives by the map."""

    patch_auroc: float
    pixel_auroc: float

    @property
    def has_learnt(self) -> bool:
        return self.patch_auroc >= PATCH_TARGET and self.pixel_auroc >= PIXEL_TARGET


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("runs", nargs="+", help="names of runs that have initial masks")
    parser.add_argument("--checkpoint_root", type=Path, default=ROOT / "checkpoints")
    parser.add_argument("--dataset_root", type=Path, default=ROOT / "dataset")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results")
    options = parser.parse_args()

    path = options.results / "learning.csv"
    for name in options.runs:
        row = check_run(name, RunPaths(options.checkpoint_root / name), options.dataset_root)
        append_rows(path, COLUMNS, [row])
        print(json.dumps(row), flush=True)


def check_run(name: str, run: RunPaths, dataset_root: Path) -> dict[str, Any]:
    """The row of a run. Raises DatasetError if it has no class activation maps."""
    if not run.cams(SPLIT).is_file():
        raise DatasetError(f"{run.cams(SPLIT)}: no such file; name a run that has initial masks")
    stages = read_json(run.options)
    classifier = restore(ClassifierOptions, stages["train_classifier"])
    rule = restore(MaskRule, stages["generate_initial_masks"])
    patches = list_labelled_patches(dataset_root / classifier.dataset_type / SPLIT)

    # A run stores the maps of positives alone; the classifier was scored on all patches.
    stored = load_cams(run.cams(SPLIT), sha256_of(run.classifier))
    cams = replace(stored, probabilities=read_probabilities(run))
    trained = measure_quality(cams, patches)
    model = build_weak_model(classifier)
    untrained = measure_quality(compute_untrained(model, rule, patches), patches)
    record = read_json(run.record)["train_classifier"]
    positives = len(select_positives(patches))
    return {
        "dataset": classifier.dataset_type,
        "run": name,
        "weak_model": classifier.weak_model,
        "cam": rule.cam or trained_cam(model),
        "seed": classifier.seed,
        "positives": positives,
        "negatives": len(patches) - positives,
        "patch_auroc": f"{trained.patch_auroc:.3f}",
        "pixel_auroc": f"{trained.pixel_auroc:.3f}",
        "untrained_patch_auroc": f"{untrained.patch_auroc:.3f}",
        "untrained_pixel_auroc": f"{untrained.pixel_auroc:.3f}",
        "learns": "yes" if trained.has_learnt else "no",
        "revision": record["code"]["git"][:7],
        "command": f"python benchmarks/learning_check.py {name}",
    }


def read_probabilities(run: RunPaths) -> dict[str, float]:
    """The tumour probability of each patch. Raises DatasetError if the run was not evaluated."""
    if not run.classifier_scores.is_file():
        raise DatasetError(f"{run.classifier_scores}: no such file; run evaluate.py on that run")
    probabilities = {}
    for row in read_table(run.classifier_scores, CLASSIFIER_COLUMNS):
        if row["split"] == SPLIT:
            probabilities[row["id"]] = float(row["probability"])
    return probabilities


def restore(kind: type[Any], stored: Mapping[str, Any]) -> Any:
    """Options as a run has stored them: lists are tuples again."""
    values = {}
    for key, value in read_stored(kind, stored).items():
        values[key] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def compute_untrained(model: Any, rule: MaskRule, patches: list[Patch]) -> CamStore:
    """The maps of the network that training began with."""
    size = read_patch_size(patches)
    return compute_cams(model.eval(), "", patches, size, rule, 8, select_device("cpu", "fp32"))


def measure_quality(cams: CamStore, patches: list[Patch]) -> MapQuality:
    """Both figures of a split; nan where there is nothing to tell apart."""
    probabilities = [cams.probabilities[patch.name] for patch in patches]
    labels = [int(patch.label or 0) for patch in patches]
    return MapQuality(auroc(probabilities, labels), mean_pixel_auroc(cams.maps, patches))


def mean_pixel_auroc(maps: Mapping[str, CamMap], patches: Sequence[Patch]) -> float:
    """The mean AUROC of pixels within positives that have ground truth; nan if there are none."""
    pixel_aurocs = []
    for patch in select_positives(patches):
        if not patch.mask:
            continue
        ground_truth = patch.ground_truth()
        cam = upsample(maps[patch.name], *ground_truth.shape)
        value = auroc(cam.ravel().tolist(), ground_truth.ravel().tolist())
        # A patch that is tumour all over has no pixel to tell it from.
        if not math.isnan(value):
            pixel_aurocs.append(value)
    return float(np.mean(pixel_aurocs)) if pixel_aurocs else math.nan


if __name__ == "__main__":
    main()
