"""Table 2: the methods beside each other, with what they learn from and what they cost."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epsam.ablation.cells import format_cells, format_interval, format_spread
from epsam.ablation.costs import RunCost, read_cost
from epsam.ablation.paper_tables import ANY_ROW, PaperTable, TableLine
from epsam.ablation.results import ScoreKey, find_score, read_all_patches_iou
from epsam.ablation.rows import AblationRow
from epsam.ablation.run_plans import EVALUATED
from epsam.ablation.statistics import mean_sd
from epsam.paths import RunPaths

METHOD_HEADER = (
    *("", "learns from", "masks", "Dice", "IoU", "IoU, all patches", "Δ Dice [95 %]"),
    *("parameters, M", "seconds", "peak, GiB", "paper: C17", "C16", "internal"),
)
METHOD_NOTE = (
    "IoU, all patches: of all pixels together, negatives counted. Parameters: of the classifier "
    "and of what the training ends with. Seconds and peak memory are those of all stages of the "
    "training, also where a stage was shared with another row; U-Net on pseudo-labels without the "
    "run that it takes them from. The peak is that of the GPU, or of the process without one."
)


@dataclass(frozen=True)
class RunFigures:
    """What a run has beside the scores of its patches. all_patches_iou: by split and predictor."""

    all_patches_iou: Mapping[ScoreKey, float]
    cost: RunCost


Figures = Mapping[str, Mapping[int, RunFigures]]
"""Row name → seed → the figures of that run."""


def read_figures(root: Path, rows: Sequence[AblationRow], seeds: Sequence[int]) -> Figures:
    """The figures of all runs below `root` that were evaluated."""
    figures: dict[str, dict[int, RunFigures]] = {}
    for row in rows:
        figures[row.name] = {}
        for seed in seeds:
            run = RunPaths(root / row.name / f"seed_{seed}")
            if (run.root / EVALUATED).is_file():
                figures[row.name][seed] = RunFigures(read_all_patches_iou(run), read_cost(run))
    return figures


def add_method_columns(
    table: PaperTable,
    records: Sequence[dict[str, Any]],
    figures: Figures,
    missing: Mapping[str, str],
) -> None:
    """Add to each line's record what METHOD_TABLE_COLUMNS has beside the scores.

    missing: row → the file of weights without which it cannot run.
    """
    for line, record in zip(table.lines, records, strict=True):
        iou, iou_sd = mean_sd(_list_all_patches_iou(line, figures))
        record["all_iou"] = round(100 * iou, 4)
        record["all_iou_sd"] = round(100 * iou_sd, 4)
        record["labels"] = "" if line.row == ANY_ROW else line.labels
        record["note"] = f"{missing[line.row]} is missing" if line.row in missing else ""

        costs = [of_run.cost for of_run in figures.get(line.row, {}).values()]
        record["parameters"] = max((cost.parameters for cost in costs), default="")
        record["seconds"] = round(mean_sd([cost.seconds for cost in costs])[0], 1)
        record["peak_gib"] = round(mean_sd([cost.peak_gib for cost in costs])[0], 3)


def format_method_table(table: PaperTable, records: Sequence[Mapping[str, Any]]) -> str:
    """The table as Markdown: title and lines."""
    lines = [f"### Table {table.number}: {table.title}", "", format_cells(METHOD_HEADER)]
    lines.append(format_cells(["---"] * len(METHOD_HEADER)))
    most_seeds = max((int(record["seeds"]) for record in records), default=0)
    for record in records:
        is_reference = record["line"] == table.reference
        seeds = int(record["seeds"])
        # A mean over fewer seeds than the other lines' says so; so does a row that cannot run.
        note = f" ({seeds} of {most_seeds} seeds)" if 0 < seeds < most_seeds else ""
        if not seeds and record["note"]:
            note = f" ({record['note']})"
        cells = [
            f"{record['line']} *" if is_reference else record["line"],
            record["labels"] or "–",
            record["masks"],
            format_spread(record["dice"], record["dice_sd"]) + note,
            format_spread(record["iou"], record["iou_sd"]),
            format_spread(record["all_iou"], record["all_iou_sd"]),
            "" if is_reference else format_interval(record),
            f"{record['parameters'] / 1e6:.1f}" if record["parameters"] else "–",
            _format_number(record["seconds"], 0),
            _format_number(record["peak_gib"], 2),
            record["paper_camelyon17"],
            record["paper_camelyon16"],
            record["paper_internal"],
        ]
        lines.append(format_cells(cells))
    return "\n".join([*lines, ""])


def _list_all_patches_iou(line: TableLine, figures: Figures) -> list[float]:
    """The line's micro IoU over all patches, for each seed that has one."""
    by_seed: dict[int, float] = {}
    for row in list(figures) if line.row == ANY_ROW else [line.row]:
        for seed, of_run in figures.get(row, {}).items():
            key = find_score(line, of_run.all_patches_iou)
            if key is not None:
                by_seed.setdefault(seed, of_run.all_patches_iou[key])
    return list(by_seed.values())


def _format_number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
