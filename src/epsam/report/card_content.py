"""What the model card of a run is made of, read from the run's tables and records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from epsam.ablation.results import PatchMetrics, read_scores
from epsam.core.files import read_numbers, read_table
from epsam.data.cases import load_slides
from epsam.data.patches import (
    list_labelled_patches,
    load_median_mpp,
    read_patch_size,
    select_positives,
)
from epsam.paths import DatasetPaths, RunPaths
from epsam.report.card_terms import find_trained_sam
from epsam.report.provenance import (
    RunProvenance,
    find_gate_threshold,
    read_record,
    read_stage_options,
)
from epsam.tables import CASE_COLUMN, CLASSIFIER_COLUMNS, SCORE_COLUMNS


@dataclass(frozen=True)
class CardContent:
    """What the card is made of.

    options: by stage. scores: rows of evaluation.csv. metrics: by split and predictor, for each
    patch. classified: rows of evaluation_classifier.csv. groups: patch → case or slide, by which
    intervals go; `grouped_by` says which, "" for none. mpp: µm/px, None if not known. gate_run: the
    run whose classifier gates the patches, "" if it is this run's.
    """

    run: str
    dataset: str
    options: Mapping[str, Mapping[str, Any]]
    stages: RunProvenance
    scores: Sequence[Mapping[str, str]]
    metrics: Mapping[tuple[str, str], PatchMetrics]
    classified: Sequence[Mapping[str, Any]]
    groups: Mapping[str, str]
    grouped_by: str
    patch_size: int
    mpp: float | None
    gate_threshold: float
    gate_run: str

    @property
    def split(self) -> str:
        """The split that the figures are of: test, or the last one with ground truth."""
        return self.scores[-1]["split"] if self.scores else ""

    @property
    def predictor(self) -> str:
        """What the training has ended with."""
        return self.scores[-1]["what"] if self.scores else ""

    def option(self, name: str, stage: str = "") -> Any:
        """The value of an option in `stage`, or in the last stage that has it; "" without any."""
        value: Any = ""
        for of_stage, options in self.options.items():
            if name in options and stage in ("", of_stage):
                value = options[name]
        return value

    @property
    def sam_model_type(self) -> str:
        """The SAM whose decoder was trained; "" without one."""
        return find_trained_sam(self.options)

    @property
    def learns_from_masks(self) -> bool:
        """Whether the ground truth of training patches was learnt from."""
        is_box_decoder = "train_box_decoder" in self.options
        return is_box_decoder or self.option("targets", "train_segmenter") == "ground_truth"


def read_card_content(run: RunPaths, data: DatasetPaths) -> CardContent:
    """All that the card says of a run that has been evaluated."""
    classified = read_numbers(
        run.classifier_scores,
        CLASSIFIER_COLUMNS,
        {"label": float, "probability": float},
        "run evaluate.py again",
    )
    cases = {}
    for row in classified:
        if row.get(CASE_COLUMN):
            cases[row["id"]] = row[CASE_COLUMN]
    slides = load_slides(data.patch_table)
    options = read_stage_options(run, data)
    positives = select_positives(list_labelled_patches(data.split("train")))
    return CardContent(
        run=run.root.name,
        dataset=data.root.name,
        options=options,
        stages=read_record(run.record),
        scores=read_table(run.evaluation, SCORE_COLUMNS),
        metrics=read_scores(run),
        classified=classified,
        groups=cases or slides,
        grouped_by="case" if cases else "slide" if slides else "",
        patch_size=read_patch_size(positives),
        mpp=load_median_mpp(positives, data.patch_table),
        gate_threshold=find_gate_threshold(run, options),
        gate_run=_find_gate_run(run, options),
    )


def _find_gate_run(run: RunPaths, options: Mapping[str, Mapping[str, Any]]) -> str:
    if not run.gate_classifier.is_file():
        return ""
    return str(options.get("train_segmenter", {}).get("from_run", ""))
