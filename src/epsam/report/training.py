"""The report of a training run: scores, rounds, curves, cases, warnings, times and options, from
what the run kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from epsam.core.files import read_json, read_numbers
from epsam.data.images import Rgb, read_rgb
from epsam.engine.stage import find_degenerate_outputs
from epsam.extraction.discovery import FAILED
from epsam.paths import DatasetPaths, RunPaths
from epsam.report.page import document, drawing, histogram, paragraph, photo, table, warnings_list
from epsam.report.provenance import (
    RunProvenance,
    format_failures,
    options_part,
    stages_part,
    stand_in_note,
)
from epsam.tables import INITIAL, METRIC_COLUMNS, PATCH_SCORE_COLUMNS, SCORE_COLUMNS

Rows = list[dict[str, str]]

ROUND_FIGURES = {
    "acceptance": "kept",
    "pseudo_dice_all": "Dice of all",
    "pseudo_dice_kept": "Dice of the kept",
}
_NUMBERS = {"dice", "iou", "value"}
FEW_KEPT = 0.05
"""Ours: a round that keeps a smaller share of its pseudo-labels is warned about."""
PANELS = {
    "cases": "Test patches of lowest, middle and highest Dice",
    "test": "Test patches, evenly spaced: patch, truth, activation map, initial mask, points, mask",
}


@dataclass(frozen=True)
class RunRecord:
    """What a run left behind; tables as rows of text, pictures by name."""

    name: str
    scores: Rows
    patches: Rows
    metrics: Rows
    options: Mapping[str, Mapping[str, Any]]
    stages: RunProvenance = field(default_factory=dict)
    troubles: Mapping[str, str] = field(default_factory=dict)
    slides: Rows = field(default_factory=list)
    """What became of the slides that its patches come from."""
    curves: Mapping[str, Rgb] = field(default_factory=dict)
    panels: Mapping[str, Rgb] = field(default_factory=dict)


def read_run(run: RunPaths, data: DatasetPaths) -> RunRecord:
    """Everything of a run and of its patches that the report shows; what is not there is empty."""
    stages = _table(run.record)
    made = {
        "extract_patches": _table(data.patch_options).get("options", {}),
        **_table(run.options),
        **{stage: entry["options"] for stage, entry in stages.items()},
    }
    return RunRecord(
        run.root.name,
        _rows(run.evaluation, SCORE_COLUMNS),
        _rows(run.patch_scores, PATCH_SCORE_COLUMNS),
        _rows(run.metrics, METRIC_COLUMNS),
        {stage: flags for stage, flags in made.items() if flags},
        stages,
        find_degenerate_outputs(run),
        _rows(data.slide_table, ("slide", "status", "reason")),
        {
            path.stem.replace("_", " "): read_rgb(path)
            for path in sorted((run.root / "curves").glob("*.png"))
        },
        {
            name: read_rgb(run.panels / f"{name}.png")
            for name in PANELS
            if (run.panels / f"{name}.png").is_file()
        },
    )


def render_training_report(record: RunRecord) -> str:
    """The report as HTML."""
    split, last = (
        (record.scores[-1][name] for name in ("split", "what")) if record.scores else ("", "")
    )
    dice = [
        float(row["dice"]) for row in record.patches if (row["split"], row["what"]) == (split, last)
    ]
    return document(
        f"EP-SAM, run {record.name}",
        [
            ("Warnings", warnings_list(run_warnings(record))),
            (
                "Dice and IoU",
                table(SCORE_COLUMNS, [_rounded(row) for row in record.scores])
                + (
                    paragraph(
                        "Means over patches with tumour; pooled: all their pixels counted together."
                    )
                    if record.scores
                    else ""
                ),
            ),
            (
                "Rounds",
                table(
                    ("round", "best val_dice", *ROUND_FIGURES.values()), round_rows(record.metrics)
                ),
            ),
            ("Dice of single patches", histogram(dice, f"{len(dice)} {split} patches, {last}")),
            (
                "Cases",
                "".join(
                    photo(record.panels[name], text, wide=True)
                    for name, text in PANELS.items()
                    if name in record.panels
                ),
            ),
            ("Training", "".join(drawing(image, title) for title, image in record.curves.items())),
            ("Seconds and memory", stages_part(record.stages)),
            ("Options", options_part(record.options)),
        ],
    )


def run_warnings(record: RunRecord) -> list[str]:
    """What a reader should know before trusting the run."""
    found = [f"{stage}: {trouble}." for stage, trouble in record.troubles.items()]
    found += format_failures(
        [(row["slide"], row["reason"]) for row in record.slides if row["status"] == FAILED],
        len(record.slides),
        "slides",
    )
    for row in round_rows(record.metrics):
        if float(row.get("kept", 1.0)) < FEW_KEPT:
            found.append(
                f"Round {row['round']} kept only {100 * float(row['kept']):.1f} % of its pseudo-labels."
            )
    test = {row["what"]: float(row["dice"]) for row in record.scores if row["split"] == "test"}
    if test and list(test.values())[-1] < test.get(INITIAL, 0.0):
        found.append(
            f"On the test split the last decoder's Dice ({list(test.values())[-1]:.3f}) is below that of the "
            f"initial masks ({test[INITIAL]:.3f})."
        )
    return found + stand_in_note(record.options)


def round_rows(metrics: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """A row for each decoder: its best validation Dice, and what became of its pseudo-labels."""
    found: dict[str, dict[str, str]] = {}
    for figure in metrics:
        kind, _, number = figure["stage"].partition("_")
        if kind == "decoder" and number.isdecimal():
            row = found.setdefault(number, {"round": number})
            if figure["name"] in ROUND_FIGURES:
                row[ROUND_FIGURES[figure["name"]]] = f"{float(figure['value']):.4f}"
            elif figure["name"] == "val_dice":
                best = max(float(figure["value"]), float(row.get("best val_dice", "-inf")))
                row["best val_dice"] = f"{best:.4f}"
    return [found[number] for number in sorted(found, key=int)]


def _rounded(row: Mapping[str, str]) -> dict[str, str]:
    return {name: f"{float(value):.4f}" if "." in value else value for name, value in row.items()}


def _table(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _rows(path: Path, columns: Sequence[str]) -> Rows:
    numbers = dict.fromkeys(_NUMBERS & set(columns), float)
    return read_numbers(path, columns, numbers, "run evaluate.py again") if path.is_file() else []
