"""The patches of a training run with what each stage made of them, from the files of the run."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from epsam.config.common import SPLITS, SplitOptions
from epsam.config.flags import read_stored
from epsam.core.errors import DatasetError, EpsamError
from epsam.core.files import read_json, read_table
from epsam.data.cam_store import CamStore, load_cams
from epsam.data.images import read_probability
from epsam.data.patches import Patch, list_patches, list_split_patches
from epsam.paths import DatasetPaths, RunPaths
from epsam.tables import CLASSIFIER_COLUMNS, PATCH_SCORE_COLUMNS, PSEUDO_LABEL_COLUMNS
from epsam.training.round_data import CORRECTED, find_mask_classifier, initial_mask_path
from epsam.view.uncertainty import entropy

log = logging.getLogger(__name__)

NEGATIVES = "negatives_"
"""Before a split's name in the paths of CAMs and initial masks of its negatives."""


@dataclass(frozen=True)
class RunPatch:
    """A patch and its scores by predictor and round, None where there is none.

    split: `CORRECTED` for patches of corrected slides and images that the dataset does not hold.
    dice: by value of `what` in evaluation_patches.csv. ids, accepted, pseudo_dice: of the
    pseudo-label of each round. uncertainty: entropy in bits.
    """

    patch: Patch
    split: str
    dice: Mapping[str, float] = field(default_factory=dict)
    ids: Mapping[int, float] = field(default_factory=dict)
    accepted: Mapping[int, bool] = field(default_factory=dict)
    pseudo_dice: Mapping[int, float] = field(default_factory=dict)
    uncertainty: float | None = None


class TrainingRun:
    """A run's folder and its patches. base: where relative paths of its options begin, if not in
    the current folder.

    Raises DatasetError if the folder is none of a run, or if its patches are not there.
    """

    def __init__(self, folder: Path, base: Path | None = None) -> None:
        self.run = RunPaths(folder)
        if not self.run.options.is_file():
            raise DatasetError(f"{folder}: neither a run nor an output folder of infer.sh")
        self.options: Mapping[str, Mapping[str, Any]] = read_json(self.run.options)
        self.data = _find_dataset(self.options, base)
        self.patches = self._list_patches()
        if not self.patches:
            raise DatasetError(f"{self.data.root}: no patches of {folder} in it; see its README.md")

    @cached_property
    def cams(self) -> Mapping[str, CamStore]:
        """CAMs of positives by split, of negatives by `NEGATIVES` and the split, and of patches
        outside of the dataset.
        """
        stores = {}
        _, sha256 = find_mask_classifier(self.run)
        for split in (*SPLITS, CORRECTED):
            for name in (split, f"{NEGATIVES}{split}"):
                try:
                    if self.run.cams(name).is_file():
                        stores[name] = load_cams(self.run.cams(name), sha256)
                except DatasetError as error:
                    log.warning("%s", error)
        return stores

    @cached_property
    def rounds(self) -> list[int]:
        """The rounds that have pseudo-labels."""
        return sorted({number for patch in self.patches for number in patch.ids})

    def initial_mask(self, patch: RunPatch) -> Path:
        """The file of a patch's initial mask, which may not be there."""
        return initial_mask_path(self.run, _store_name(patch.split, patch.patch), patch.patch)

    def pseudo_mask(self, number: int, patch: RunPatch) -> Path:
        """The file of a patch's accepted pseudo-label of a round, which may not be there."""
        return self.run.pseudo_masks(number) / f"{patch.patch.name}.png"

    def correction(self, patch: RunPatch) -> Path:
        """The file of what a person has said of a training patch, which may not be there."""
        name = f"{patch.patch.name}.png"
        if patch.split == CORRECTED:
            return self.run.corrected_slides / "target" / name
        return self.run.corrections / name

    def cam(self, patch: RunPatch) -> np.ndarray | None:
        """The CAM (h, w) of a patch; None if there is none."""
        store = self.cams.get(_store_name(patch.split, patch.patch))
        return None if store is None else store.maps.get(patch.patch.name)

    def has_probabilities(self, patch: RunPatch) -> bool:
        """Whether the uncertainty of a patch is that of its pixels (--soft_targets)."""
        return self._newest_probabilities(patch.patch) is not None

    def _newest_probabilities(self, patch: Patch) -> Path | None:
        for number in range(9, -1, -1):
            path = self.run.probabilities(number) / f"{patch.name}.png"
            if path.is_file():
                return path
        return None

    def _list_patches(self) -> list[RunPatch]:
        dice = _read_dice(self.run.patch_scores)
        labels = _read_pseudo_labels(self.run.pseudo_labels)
        probabilities = _read_probabilities(self.run.classifier_scores)
        patches = []
        for split in SPLITS:
            for patch in list_split_patches(self.data.split(split)):
                rows = labels.get(patch.name, []) if split == "train" else []
                patches.append(
                    RunPatch(
                        patch,
                        split,
                        dice.get((split, patch.name), {}),
                        {int(row["round"]): float(row["ids"]) for row in rows},
                        {int(row["round"]): row["accepted"] == "1" for row in rows},
                        {int(row["round"]): float(row["dice"]) for row in rows if row["dice"]},
                        self._uncertainty(split, patch, probabilities),
                    )
                )
        for patch in list_patches(self.run.corrected_slides / "image", None):
            patches.append(RunPatch(patch, CORRECTED))
        return patches

    def _uncertainty(
        self, split: str, patch: Patch, probabilities: Mapping[tuple[str, str], float]
    ) -> float | None:
        """Mean entropy of the newest probabilities that are stored (--soft_targets), else the
        entropy of the classifier's probability; None without both.
        """
        path = self._newest_probabilities(patch)
        if path:
            return float(entropy(read_probability(path)).mean())
        probability = probabilities.get((split, patch.name))
        return None if probability is None else float(entropy(np.array(probability)))


def _store_name(split: str, patch: Patch) -> str:
    return split if patch.label == 1 or split == CORRECTED else f"{NEGATIVES}{split}"


def _find_dataset(options: Mapping[str, Mapping[str, Any]], base: Path | None) -> DatasetPaths:
    """The dataset of a run, by the options of the last of its stages that names one."""
    stored: Mapping[str, Any] = {}
    for stage in options.values():
        if "dataset_type" in stage:
            stored = stage
    values = read_stored(SplitOptions, stored)
    for name in ("dataset_root", "train_dataset_dir", "val_dataset_dir", "test_dataset_dir"):
        folder = values.get(name)
        if folder and base and not Path(folder).exists():
            values[name] = str(base / folder)
    return DatasetPaths.of(SplitOptions(**values))


def _read_dice(table: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Dice by (split, patch) and predictor; empty without the table."""
    dice: dict[tuple[str, str], dict[str, float]] = {}
    if table.is_file():
        for row in read_table(table, PATCH_SCORE_COLUMNS):
            if row["dice"]:
                scores = dice.setdefault((row["split"], row["id"]), {})
                scores[row["what"]] = float(row["dice"])
    return dice


def _read_probabilities(table: Path) -> dict[tuple[str, str], float]:
    """The classifier's tumour probability by (split, patch); empty without the table."""
    probabilities = {}
    if table.is_file():
        for row in read_table(table, CLASSIFIER_COLUMNS):
            probabilities[row["split"], row["id"]] = float(row["probability"])
    return probabilities


def _read_pseudo_labels(table: Path) -> dict[str, Sequence[Mapping[str, str]]]:
    """Rows of pseudo_labels.csv by patch; empty without the table."""
    rows: dict[str, list[Mapping[str, str]]] = {}
    if table.is_file():
        for row in read_table(table, PSEUDO_LABEL_COLUMNS):
            rows.setdefault(row["id"], []).append(row)
    return dict(rows)


def sample_points(run: TrainingRun, patch: RunPatch, number: int) -> np.ndarray | None:
    """The prompt (N, 3) of a patch as it was sampled for the pseudo-labels of a round (train) or
    for scores (val and test): x, y in patch pixels, and label. None if the run's files do not tell.

    Imports PyTorch, which takes seconds the first time.
    """
    # Nothing else of the viewer needs it.
    from epsam.config.decoder import RetrainOptions
    from epsam.training.sam_setup import prompt_patches

    stored = run.options.get(f"decoder_{number}")
    cams = run.cams.get(_store_name(patch.split, patch.patch))
    if stored is None or cams is None or patch.patch.label != 1:
        return None
    values = read_stored(RetrainOptions, stored)
    for name, value in values.items():
        # JSON has no tuples.
        values[name] = tuple(value) if isinstance(value, list) else value
    options = RetrainOptions(**values)
    key = (options.seed, number) if patch.split == "train" else (options.seed,)
    try:
        (prompted,) = prompt_patches(run.run, patch.split, [patch.patch], cams, options, key)
    except (EpsamError, KeyError) as error:
        log.warning("%s: no points: %s", patch.patch.name, error)
        return None
    return prompted.first_points
