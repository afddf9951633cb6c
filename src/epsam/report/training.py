"""The report of a training run: scores, rounds, curves, cases, warnings, times and options, from
the files of the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from epsam.config.inference import GateOptions
from epsam.core.failures import read_failures
from epsam.core.files import read_numbers, read_table
from epsam.data.images import Rgb, read_rgb
from epsam.engine.stage import find_degenerate_outputs
from epsam.evaluation.thresholds import load_thresholds
from epsam.extraction.discovery import FAILED
from epsam.paths import DatasetPaths, RunPaths
from epsam.report.card_terms import find_trained_sam
from epsam.report.classifier import (
    CLASSIFIER_TABLE_COLUMNS,
    classifier_rows,
    make_reliability_plot,
)
from epsam.report.page import (
    Histogram,
    PageTable,
    embed_drawing,
    embed_photo,
    make_histogram,
    make_table,
    render_page,
)
from epsam.report.provenance import (
    RunProvenance,
    describe_last_machine,
    find_gate_threshold,
    format_failures,
    list_by_end,
    option_tables,
    read_record,
    read_stage_options,
    stage_table,
    warn_of_small_sam,
)
from epsam.tables import (
    ALL_PATCH_COLUMNS,
    CLASSIFIER_COLUMNS,
    FILL,
    FRACTION_COLUMNS,
    INITIAL,
    METRIC_COLUMNS,
    PATCH_SCORE_COLUMNS,
    SCORE_COLUMNS,
)

Rows = list[dict[str, str]]

ROUND_METRICS = {
    "acceptance": "accepted",
    "pseudo_dice_all": "Dice of all",
    "pseudo_dice_kept": "Dice of the accepted",
}
"""Metrics of which a round has one value → their columns in the table of rounds."""
_NUMBER_COLUMNS = {"dice", "iou", "value", "label", "probability"}
ALL_PATCH_TABLE_COLUMNS = ("split", "what", *ALL_PATCH_COLUMNS[:6])
"""Without the classifier's figures, which are the same for each predictor of a split."""
FRACTION_TABLE_COLUMNS = ("what", *FRACTION_COLUMNS)
LOW_ACCEPTANCE = 0.05
"""This project: a round that accepts a smaller fraction of its pseudo-labels is warned about."""
PANELS = {
    "cases": "Test patches of lowest, middle and highest Dice",
    "test": "Test patches, evenly spaced: patch, ground truth, class activation map, initial mask, "
    "points, mask",
}


@dataclass(frozen=True)
class TrainingResults:
    """The files of a run: tables as rows of text, images by name.

    slides: what became of the slides that its patches come from. classified: rows of
    evaluation_classifier.csv. fractions: rows of evaluation_fractions.csv. failures: by stage, why
    it has failed. is_scored: whether the run has come to its scores. gate_threshold: that of the
    evaluation. gate_on_validation: what separates the validation patches best; None if it is not
    known.
    """

    name: str
    scores: Rows
    patches: Rows
    metrics: Rows
    options: Mapping[str, Mapping[str, Any]]
    stages: RunProvenance = field(default_factory=dict)
    degenerate_outputs: Mapping[str, str] = field(default_factory=dict)
    slides: Rows = field(default_factory=list)
    curves: Mapping[str, Rgb] = field(default_factory=dict)
    panels: Mapping[str, Rgb] = field(default_factory=dict)
    classified: Rows = field(default_factory=list)
    fractions: Rows = field(default_factory=list)
    failures: Mapping[str, str] = field(default_factory=dict)
    is_scored: bool = True
    gate_threshold: float = GateOptions.gate_threshold
    gate_on_validation: float | None = None

    @property
    def last_score(self) -> tuple[str, str]:
        """Split and predictor of the last row of scores: test and the last decoder."""
        if not self.scores:
            return "", ""
        return self.scores[-1]["split"], self.scores[-1]["what"]


def read_run(run: RunPaths, data: DatasetPaths) -> TrainingResults:
    """Everything of a run and of its patches that the report shows; what is not there is empty."""
    curves = {}
    for path in sorted((run.root / "curves").glob("*.png")):
        curves[path.stem.replace("_", " ")] = read_rgb(path)
    panels = {}
    for name in PANELS:
        path = run.panels / f"{name}.png"
        if path.is_file():
            panels[name] = read_rgb(path)

    options = read_stage_options(run, data)
    thresholds = load_thresholds(run)
    return TrainingResults(
        name=run.root.name,
        scores=_read_rows(run.evaluation, SCORE_COLUMNS),
        patches=_read_rows(run.patch_scores, PATCH_SCORE_COLUMNS),
        metrics=_read_rows(run.metrics, METRIC_COLUMNS),
        options=options,
        stages=read_record(run.record),
        degenerate_outputs=find_degenerate_outputs(run),
        slides=_read_rows(data.slide_table, ("slide", "status", "reason")),
        curves=curves,
        panels=panels,
        classified=_read_rows(run.classifier_scores, CLASSIFIER_COLUMNS),
        fractions=_read_fractions(run.fraction_scores),
        failures=read_failures(run.root),
        is_scored=run.evaluation.is_file(),
        gate_threshold=find_gate_threshold(run, options),
        gate_on_validation=thresholds.gate_on_validation if thresholds else None,
    )


def render_training_report(results: TrainingResults) -> str:
    """The report as HTML."""
    panels = []
    for name, text in PANELS.items():
        if name in results.panels:
            panels.append(embed_photo(results.panels[name], text, wide=True))
    gate_threshold = results.gate_threshold
    round_columns = ("round", "best val_dice", *ROUND_METRICS.values())

    return render_page(
        "training.html.j2",
        title=f"EP-SAM, run {results.name}",
        warnings=run_warnings(results),
        scores=_score_table(results, SCORE_COLUMNS),
        all_patches=_score_table(results, ALL_PATCH_TABLE_COLUMNS),
        fractions=make_table(FRACTION_TABLE_COLUMNS, fraction_rows(results)),
        classifier=make_table(
            CLASSIFIER_TABLE_COLUMNS, classifier_rows(results.classified, gate_threshold)
        ),
        gate_threshold=f"{gate_threshold:.3g}",
        gate_on_validation=_describe_validation_gate(results.gate_on_validation),
        reliability=make_reliability_plot(results.classified),
        rounds=make_table(round_columns, round_rows(results.metrics)),
        patch_dice=_patch_histogram(results),
        panels=panels,
        curves=[embed_drawing(image, title) for title, image in results.curves.items()],
        stages=stage_table(results.stages),
        machine=describe_last_machine(results.stages),
        options=option_tables(results.options),
    )


def run_warnings(results: TrainingResults) -> list[str]:
    """What a reader should know before trusting the run; that it failed comes first."""
    messages = [f"{stage} failed: {reason}" for stage, reason in results.failures.items()]
    if not results.is_scored:
        messages.append(_describe_unfinished(results.stages))
    messages += [f"{stage}: {reason}." for stage, reason in results.degenerate_outputs.items()]
    failures = []
    for row in results.slides:
        if row["status"] == FAILED:
            failures.append((row["slide"], row["reason"]))
    messages += format_failures(failures, len(results.slides), "slides")

    for row in round_rows(results.metrics):
        acceptance = float(row.get(ROUND_METRICS["acceptance"], 1.0))
        if acceptance < LOW_ACCEPTANCE:
            messages.append(
                f"Round {row['round']} accepted only {100 * acceptance:.1f} % of its pseudo-labels."
            )

    # Rows are in the order of training: the last one is the last decoder's.
    test_dice = {}
    for row in results.scores:
        if row["split"] == "test":
            test_dice[row["what"]] = float(row["dice"])
    last_dice = list(test_dice.values())[-1] if test_dice else 0.0
    if test_dice and last_dice < test_dice.get(INITIAL, 0.0):
        messages.append(
            f"On the test split the last decoder's Dice ({last_dice:.3f}) is below that of the "
            f"initial masks ({test_dice[INITIAL]:.3f})."
        )
    # Evaluation has SAM's options even where there is no SAM to score.
    if find_trained_sam(results.options):
        messages += warn_of_small_sam(results.options)
    return messages


def _describe_validation_gate(threshold: float | None) -> str:
    if threshold is None:
        return ""
    text = "separates the validation patches best (--gate_from validation)"
    return f"A probability of {threshold:.3f} {text}."


def fraction_rows(results: TrainingResults) -> list[dict[str, str]]:
    """Scores of the last split by tumour fraction: initial masks, the last decoder, and filling."""
    split, predictor = results.last_score
    rows = []
    for row in results.fractions:
        if row["split"] == split and row["what"] in (FILL, INITIAL, predictor):
            rounded = {}
            for name in FRACTION_TABLE_COLUMNS:
                rounded[name] = f"{float(row[name]):.4f}" if "." in row[name] else row[name]
            rows.append(rounded)
    return rows


def _describe_unfinished(stages: RunProvenance) -> str:
    text = "This run is not complete: it has failed, was stopped, or still works; nothing is scored"
    ended = list_by_end(stages)
    return f"{text}. The last stage that has ended is {ended[-1]}." if ended else f"{text}."


def round_rows(metrics: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """A row for each decoder: its best validation Dice, and the metrics of its pseudo-labels."""
    rows: dict[str, dict[str, str]] = {}
    for metric in metrics:
        kind, _, number = metric["stage"].partition("_")
        if kind != "decoder" or not number.isdecimal():
            continue

        # A metric has a row an epoch: the best of val_dice counts, the last of the others.
        row = rows.setdefault(number, {"round": number})
        value = float(metric["value"])
        if metric["name"] in ROUND_METRICS:
            row[ROUND_METRICS[metric["name"]]] = f"{value:.4f}"
        elif metric["name"] == "val_dice":
            best = max(value, float(row.get("best val_dice", "-inf")))
            row["best val_dice"] = f"{best:.4f}"
    return [rows[number] for number in sorted(rows, key=int)]


def _score_table(results: TrainingResults, columns: Sequence[str]) -> PageTable | None:
    """The scores in these columns; None if an older version has written none of them."""
    rows = []
    for row in results.scores:
        if columns[-1] not in row:
            return None
        rounded = {}
        for name, value in row.items():
            rounded[name] = f"{float(value):.4f}" if "." in value else value
        rows.append(rounded)
    return make_table(columns, rows)


def _patch_histogram(results: TrainingResults) -> Histogram | None:
    split, predictor = results.last_score
    dice = []
    for row in results.patches:
        if (row["split"], row["what"]) == (split, predictor):
            dice.append(float(row["dice"]))
    return make_histogram(dice, f"{len(dice)} {split} patches, {predictor}")


def _read_fractions(path: Path) -> Rows:
    return read_table(path, FRACTION_TABLE_COLUMNS) if path.is_file() else []


def _read_rows(path: Path, columns: Sequence[str]) -> Rows:
    """The rows of a table; raises DatasetError if a number cannot be read."""
    if not path.is_file():
        return []
    numbers = dict.fromkeys(_NUMBER_COLUMNS & set(columns), float)
    return read_numbers(path, columns, numbers, "run evaluate.py again")
