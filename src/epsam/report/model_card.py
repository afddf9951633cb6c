"""model_card.md of a run: what was trained on what, what it is for, how good it is and how sure
that is, and under which terms. Made of the run's tables and records alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from epsam.ablation.results import PatchMetrics, read_scores
from epsam.ablation.statistics import mean_over_patches, paired_difference
from epsam.core.files import read_numbers, read_table
from epsam.data.cases import load_slides
from epsam.data.patches import (
    list_labelled_patches,
    load_median_mpp,
    read_patch_size,
    select_positives,
)
from epsam.paths import DatasetPaths, RunPaths
from epsam.report.card_terms import data_terms, find_trained_sam, weight_terms
from epsam.report.classifier import CLASSIFIER_TABLE_COLUMNS, classifier_rows
from epsam.report.provenance import (
    RunProvenance,
    describe_last_machine,
    find_gate_threshold,
    read_record,
    read_stage_options,
    stage_rows,
)
from epsam.tables import (
    ALL_FILLED,
    CASE_COLUMN,
    CLASSIFIER_COLUMNS,
    FILL,
    INITIAL,
    SCORE_COLUMNS,
    ZERO_SHOT,
)

WORST_CASES = 5
"""This project: how many patches of the lowest Dice are listed."""
SCORE_TABLE = ("masks", "patches", "Dice", "95 % interval", "IoU", "IoU, all patches")


@dataclass(frozen=True)
class CardFacts:
    """What the card is made of.

    options: by stage. scores: rows of evaluation.csv. metrics: by split and predictor, for each
    patch. classified: rows of evaluation_classifier.csv. groups: patch → case or slide, by which
    intervals go; `grouped_by` says which, "" for none. mpp: µm/px, None if not known.
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


def read_card_facts(run: RunPaths, data: DatasetPaths) -> CardFacts:
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
    return CardFacts(
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
    )


def render_model_card(facts: CardFacts) -> str:
    """The card as Markdown."""
    sections = {
        f"# Model card of the run {facts.run}": _describe_model(facts),
        "## What it is for": _describe_use(facts),
        "## Data and labels": _describe_data(facts),
        "## Figures": _describe_figures(facts),
        "## Worst cases": _list_worst_cases(facts),
        "## How it was made": _describe_making(facts),
        "## Terms": [*weight_terms(facts.options), *data_terms(facts.dataset)],
    }
    lines: list[str] = []
    for heading, content in sections.items():
        lines += [heading, "", *content, ""]
    return "\n".join(lines)


def _describe_model(facts: CardFacts) -> list[str]:
    sam = facts.sam_model_type or "none"
    backbone = facts.option("backbone") or "none"
    learnt_from = "masks" if facts.learns_from_masks else "labels"
    return [
        f"EP-SAM: outlines tumour in H&E images, trained with {learnt_from} of patches "
        f"({facts.dataset}). Classifier: {backbone}. Segment Anything Model: {sam}. The masks come "
        f"from: {facts.predictor or 'nothing that was scored'}."
    ]


def _describe_use(facts: CardFacts) -> list[str]:
    resolution = f"{facts.mpp:g} µm/px" if facts.mpp else "a resolution that no table states"
    return [
        f"* For research: outlining tumour in patches of {facts.patch_size} px at {resolution}, "
        "and in images and slides that are cut into such patches, of the organ, stain and scanners "
        "of its training data.",
        "* **Not for diagnosis**, nor for any decision about a patient. It is no medical device, "
        "and nobody has validated it as one.",
        "* Not for other organs, stains, magnifications or scanners, unless it is scored on them "
        "first.",
    ]


def _describe_data(facts: CardFacts) -> list[str]:
    with_mask = {row["split"]: row["patches"] for row in facts.scores}
    rows = []
    for split, patches in _group_by_split(facts.classified).items():
        groups = {facts.groups[row["id"]] for row in patches if row["id"] in facts.groups}
        positives = sum(int(row["label"]) for row in patches)
        row = {
            "split": split,
            "positives": positives,
            "with ground truth": with_mask.get(split, 0),
            "negatives": len(patches) - positives,
            f"{facts.grouped_by or 'case'}s": len(groups) or "not stated",
        }
        rows.append(row)
    columns = list(rows[0]) if rows else []
    lines = [*_format_table(columns, rows), ""]
    if facts.learns_from_masks:
        lines.append("Trained with the masks of patches with tumour (fully supervised).")
    else:
        lines.append("Trained with labels of patches alone: 1 with tumour, 0 without.")
    # What is stored keeps the flag's old spelling.
    by_masks = facts.option("select_on") in ("ground_truth", "truth")
    if facts.learns_from_masks or by_masks:
        lines.append("The best epoch of a decoder is chosen by masks of the validation split.")
    if facts.option("grid_search"):
        by_labels = facts.option("grid_by") == "labels"
        judge = "labels of patches" if by_labels else "masks"
        lines.append(f"Quantile and kernel are chosen by {judge} of the validation split.")
    lines.append("Masks of the test split are only scored against.")
    return lines


def _describe_figures(facts: CardFacts) -> list[str]:
    if not facts.scores:
        return ["No patch of any split has a ground-truth mask: nothing could be scored."]
    rows = []
    for score in facts.scores:
        if score["split"] == facts.split:
            rows.append(_score_row(facts, score))
    resampled = f"whole {facts.grouped_by}s are" if facts.grouped_by else "patches are"
    lines = [
        f"Split {facts.split}. Dice and IoU: means over patches with tumour; in the last column "
        "all pixels of all patches are counted together, and a patch without tumour has a mask "
        "only if the classifier lets it pass. fill and all are no methods: every patch with tumour "
        f"is filled whole, or every patch. Intervals: bootstrap, {resampled} drawn.",
        "",
        *_format_table(SCORE_TABLE, rows),
        "",
        *_list_differences(facts),
        "",
    ]
    threshold = facts.gate_threshold
    lines += [f"The classifier alone, of patches as a whole, at probability {threshold:g}:", ""]
    lines += _format_table(CLASSIFIER_TABLE_COLUMNS, classifier_rows(facts.classified, threshold))
    return lines


def _score_row(facts: CardFacts, score: Mapping[str, str]) -> dict[str, object]:
    dice = facts.metrics[facts.split, score["what"]].dice
    # The interval of a mean is that of its difference from 0.
    interval = paired_difference(dict.fromkeys(dice, 0.0), dice, cases=facts.groups)
    return {
        "masks": score["what"],
        "patches": score["patches"],
        "Dice": f"{mean_over_patches(dice):.3f}",
        "95 % interval": f"{interval.low:.3f} to {interval.high:.3f}",
        "IoU": f"{float(score['iou']):.3f}",
        "IoU, all patches": f"{float(score['all_iou']):.3f}" if score.get("all_iou") else "",
    }


def _list_differences(facts: CardFacts) -> list[str]:
    """The last predictor's difference in Dice from what a method has to be better than."""
    lines = []
    last = facts.metrics[facts.split, facts.predictor].dice
    for other in (FILL, INITIAL, ZERO_SHOT):
        metrics = facts.metrics.get((facts.split, other))
        if metrics is None or other == facts.predictor:
            continue
        difference = paired_difference(metrics.dice, last, cases=facts.groups)
        lines.append(
            f"* {facts.predictor} against {other}: {difference.mean:+.3f} Dice "
            f"[{difference.low:+.3f}, {difference.high:+.3f}]"
        )
    return lines


def _list_worst_cases(facts: CardFacts) -> list[str]:
    if not facts.scores or facts.predictor in (FILL, ALL_FILLED):
        return ["Nothing was scored."]
    metrics = facts.metrics[facts.split, facts.predictor]
    rows = []
    for name in sorted(metrics.dice, key=lambda patch: metrics.dice[patch])[:WORST_CASES]:
        row = {
            "patch": name,
            facts.grouped_by or "case": facts.groups.get(name, "not stated"),
            "Dice": f"{metrics.dice[name]:.3f}",
        }
        rows.append(row)
    text = f"The patches of {facts.split} with the lowest Dice; pictures are in panels/cases.png."
    return [text, "", *_format_table(list(rows[0]), rows)]


def _describe_making(facts: CardFacts) -> list[str]:
    rows = stage_rows(facts.stages)
    versions: dict[str, str] = {}
    for entry in facts.stages.values():
        versions.update(entry.get("versions", {}))
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    return [
        *_format_table(("stage", "seconds"), rows),
        "",
        f"{describe_last_machine(facts.stages)}. Packages: {packages}. Every option is in "
        f"options.json, and with digests of all inputs in record.json; seed "
        f"{facts.option('seed')}.",
    ]


def _group_by_split(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    by_split: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_split.setdefault(row["split"], []).append(row)
    return by_split


def _format_table(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> list[str]:
    """A Markdown table; nothing without rows."""
    if not rows:
        return []
    lines = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    for row in rows:
        cells = [str(row.get(column, "")).replace("|", "\\|") for column in columns]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
