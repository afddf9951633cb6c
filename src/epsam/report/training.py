"""The report of a training run: scores, rounds, curves, cases, warnings, times and options, from what the run kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from epsam.data.images import Rgb, read_rgb
from epsam.files import read_json, read_numbers
from epsam.paths import RunPaths
from epsam.report.page import document, drawing, histogram, paragraph, photo, table, warnings_list
from epsam.training.evaluation import COLUMNS, INITIAL, PATCH_COLUMNS
from epsam.training.stage import METRIC_COLUMNS, troubles_of

Rows = list[dict[str, str]]

ROUND_FIGURES = {"acceptance": "kept", "pseudo_dice_all": "Dice of all", "pseudo_dice_kept": "Dice of the kept"}
STAGE_FIGURES = {"seconds": "seconds", "peak_ram_gib": "RAM, GiB", "peak_gpu_gib": "GPU, GiB"}
_NUMBERS = {"dice", "iou", "value"}
FEW_KEPT = 0.05
"""Ours: a round that keeps a smaller share of its pseudo-labels is warned about."""
PANELS = {"cases": "Test patches of lowest, middle and highest Dice",
          "test": "Test patches, evenly spaced: patch, truth, activation map, initial mask, points, mask"}


@dataclass(frozen=True)
class RunRecord:
    """What a run left behind; tables as rows of text, pictures by name."""

    name: str
    scores: Rows
    patches: Rows
    metrics: Rows
    options: Mapping[str, Mapping[str, Any]]
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """record.json: how each stage was made."""
    troubles: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, Rgb] = field(default_factory=dict)
    panels: Mapping[str, Rgb] = field(default_factory=dict)


def read_run(run: RunPaths) -> RunRecord:
    """Everything of a run's folder that its report shows; what is not there is empty."""
    return RunRecord(
        run.root.name, _rows(run.evaluation, COLUMNS), _rows(run.patch_scores, PATCH_COLUMNS),
        _rows(run.metrics, METRIC_COLUMNS),
        read_json(run.options) if run.options.is_file() else {},
        read_json(run.record) if run.record.is_file() else {},
        troubles_of(run),
        {path.stem.replace("_", " "): read_rgb(path) for path in sorted((run.root / "curves").glob("*.png"))},
        {name: read_rgb(run.panels / f"{name}.png") for name in PANELS if (run.panels / f"{name}.png").is_file()})


def training_report(record: RunRecord) -> str:
    """The report as HTML."""
    last = record.scores[-1]["what"] if record.scores else ""
    dice = [float(row["dice"]) for row in record.patches if row["split"] == "test" and row["what"] == last]
    return document(f"EP-SAM, run {record.name}", [
        ("Warnings", warnings_list(run_warnings(record))),
        ("Dice and IoU", table(COLUMNS, [_rounded(row) for row in record.scores])
         + (paragraph("Means over patches with tumour; pooled: all their pixels counted together.")
            if record.scores else "")),
        ("Rounds", table(("round", "best val_dice", *ROUND_FIGURES.values()), round_rows(record.metrics))),
        ("Dice of the test patches", histogram(dice, f"{len(dice)} test patches, {last}: Dice")),
        ("Cases", "".join(photo(record.panels[name], text) for name, text in PANELS.items() if name in record.panels)),
        ("Training", "".join(drawing(image, title) for title, image in record.curves.items())),
        ("Seconds and memory", table(("stage", *STAGE_FIGURES.values()), stage_rows(record.stages))),
        ("Options", "".join(f"<h3>{stage}</h3>" + table(("flag", "value"), _flags(flags))
                            for stage, flags in record.options.items())),
    ])


def run_warnings(record: RunRecord) -> list[str]:
    """What a reader should know before trusting the run."""
    found = [f"{stage}: {trouble}." for stage, trouble in record.troubles.items()]
    for row in round_rows(record.metrics):
        if float(row.get("kept", 1.0)) < FEW_KEPT:
            found.append(f"Round {row['round']} kept only {100 * float(row['kept']):.1f} % of its pseudo-labels.")
    test = {row["what"]: float(row["dice"]) for row in record.scores if row["split"] == "test"}
    if test and list(test.values())[-1] < test.get(INITIAL, 0.0):
        found.append(f"On the test split the last decoder's Dice ({list(test.values())[-1]:.3f}) is below that of the "
                     f"initial masks ({test[INITIAL]:.3f}).")
    models = {str(flags["sam_model_type"]) for flags in record.options.values() if "sam_model_type" in flags}
    if "vit_demo" in models:
        found.append("Made with vit_demo, a small stand-in: its figures say nothing about SAM ViT-B.")
    return found


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


def stage_rows(stages: Mapping[str, Mapping[str, Any]]) -> list[dict[str, object]]:
    """Wall time of each stage's last session and its peaks of memory, in the order in which they ended."""
    ordered = sorted(stages.items(), key=lambda item: str(item[1].get("ended", "")))
    return [{"stage": stage, **{title: entry[name] for name, title in STAGE_FIGURES.items() if name in entry}}
            for stage, entry in ordered]


def _rounded(row: Mapping[str, str]) -> dict[str, str]:
    return {name: f"{float(value):.4f}" if "." in value else value for name, value in row.items()}


def _flags(flags: Mapping[str, Any]) -> list[dict[str, object]]:
    return [{"flag": f"--{name}", "value": value} for name, value in flags.items()]


def _rows(path: Path, columns: Sequence[str]) -> Rows:
    numbers = dict.fromkeys(_NUMBERS & set(columns), float)
    return read_numbers(path, columns, numbers, "run evaluate.py again") if path.is_file() else []
