"""The paper's tables from the scores of many runs, as records and as Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from epsam.ablation.cells import format_cells, format_interval, format_spread
from epsam.ablation.data_table import count_patches, format_data_table
from epsam.ablation.method_table import (
    METHOD_NOTE,
    add_method_columns,
    format_method_table,
    read_figures,
)
from epsam.ablation.paper_tables import (
    ANY_ROW,
    FINAL,
    METHODS_TABLE,
    TABLES,
    PaperTable,
    TableLine,
)
from epsam.ablation.results import PatchMetrics, ScoreKey, find_score, read_scores
from epsam.ablation.rows import AblationRow
from epsam.ablation.run_plans import EVALUATED
from epsam.ablation.statistics import (
    describe_intervals,
    mean_over_patches,
    mean_over_seeds,
    mean_sd,
    paired_difference,
)
from epsam.core.files import write_table, write_text
from epsam.paths import DatasetPaths, RunPaths
from epsam.tables import (
    ABLATION_COLUMNS,
    DATA_TABLE_COLUMNS,
    INITIAL,
    METHOD_TABLE_COLUMNS,
    PRELIMINARY,
)

HEADER = ("", "split", "masks", "Dice", "IoU", "Δ Dice [95 %]", "paper: C17", "C16", "internal")
NOTE = (
    "Per cent, means over the positive patches of the split, then mean ± sample standard deviation "
    "over seeds. Δ is the difference in Dice from the line marked *, patch by patch, averaged over "
    "the seeds that both have, with its percentile bootstrap interval. Paper: Dice / IoU on its "
    "own data; – is not reported or not known here."
)

Results = Mapping[str, Mapping[int, Mapping[ScoreKey, PatchMetrics]]]
"""Row name → seed → the scores of that run."""


def write_tables(
    root: Path,
    data: DatasetPaths,
    rows: Sequence[AblationRow],
    seeds: Sequence[int],
    heading: str,
    missing: Mapping[str, str] | None = None,
) -> str:
    """Write Tables 1 to 6 and those of the other rows into `root`/tables, from every run that was
    evaluated, now or earlier; returns them as Markdown.

    missing: row → the file of weights without which it cannot run.
    """
    folder = root / "tables"
    counts = count_patches(data)
    write_table(folder / "table_1.csv", DATA_TABLE_COLUMNS, counts)

    results = read_results(root, rows, seeds)
    texts = [
        heading,
        f"{NOTE} {describe_intervals(list_drawn(results))}\n",
        format_data_table(counts),
    ]
    for table in list_tables(rows):
        records = make_records(table, results, rows)
        path = folder / f"table_{table.number}.csv"
        if table.number == METHODS_TABLE:
            figures = read_figures(root, rows, seeds)
            add_method_columns(table, records, figures, missing or {})
            write_table(path, METHOD_TABLE_COLUMNS, records)
            texts.append(format_method_table(table, records))
            texts.append(f"{METHOD_NOTE}\n")
        else:
            write_table(path, ABLATION_COLUMNS, records)
            texts.append(format_table(table, records))

    text = "\n".join(texts)
    write_text(folder / "tables.md", text)
    return text


def read_results(root: Path, rows: Sequence[AblationRow], seeds: Sequence[int]) -> Results:
    """The scores of all runs below `root` that were evaluated."""
    results: dict[str, dict[int, Mapping[ScoreKey, PatchMetrics]]] = {}
    for row in rows:
        results[row.name] = {}
        for seed in seeds:
            run = RunPaths(root / row.name / f"seed_{seed}")
            if (run.root / EVALUATED).is_file():
                results[row.name][seed] = read_scores(run)
    return results


def list_drawn(results: Results) -> list[str]:
    """What the intervals draw: case, slide or patch, of all scores."""
    drawn = []
    for of_row in results.values():
        for scores in of_row.values():
            drawn += [metrics.drawn for metrics in scores.values()]
    return drawn


def list_tables(rows: Sequence[AblationRow]) -> list[PaperTable]:
    """The paper's tables, and those of the rows that are in none of them: one for each stage with
    which rows end, so that a row is compared with the paper's method at the same stage.
    """
    rows_in_paper = set()
    for table in TABLES:
        for line in table.lines:
            rows_in_paper.add(line.row)

    # "paper" leads each table as its reference.
    names_by_end: dict[str, list[str]] = {}
    for row in rows:
        if row.name not in rows_in_paper:
            names_by_end.setdefault(_last_predictor(row), ["paper"]).append(row.name)

    tables = list(TABLES)
    for predictor, names in names_by_end.items():
        lines = tuple(TableLine(name, name, "test", predictor) for name in names)
        number = f"other_{predictor.replace(' ', '_')}"
        tables.append(PaperTable(number, f"Other rows: {predictor}", "paper", lines))
    return tables


def make_records(
    table: PaperTable, results: Results, rows: Sequence[AblationRow]
) -> list[dict[str, Any]]:
    """A record for each line; metrics in per cent, nan where a run has no such scores."""
    flags = {row.name: row.flag_text for row in rows}
    reference = next(line for line in table.lines if line.label == table.reference)
    reference_scores = _scores_by_seed(reference, results)

    records = []
    for line in table.lines:
        scores = _scores_by_seed(line, results)
        record = {
            "table": table.number,
            "line": line.label,
            "row": line.row,
            "flags": flags.get(line.row, ""),
            "split": line.split,
            "masks": _name_of_masks(line, results),
            "patches": max((len(metrics.dice) for metrics in scores.values()), default=0),
            "seeds": len(scores),
            "drawn": _name_drawn(scores),
            "paper_camelyon17": line.paper[0],
            "paper_camelyon16": line.paper[1],
            "paper_internal": line.paper[2],
        }
        for name, value in _summarize(scores, reference_scores).items():
            record[name] = round(100 * value, 4)
        records.append(record)
    return records


def format_table(table: PaperTable, records: Sequence[Mapping[str, Any]]) -> str:
    """A table as Markdown: title and lines; NOTE explains the numbers."""
    title = f"Table {table.number}: {table.title}" if table.number.isdigit() else table.title
    lines = [f"### {title}", "", format_cells(HEADER), format_cells(["---"] * len(HEADER))]
    most_seeds = max((int(record["seeds"]) for record in records), default=0)
    for record in records:
        is_reference = record["line"] == table.reference
        seeds = int(record["seeds"])
        # A mean over fewer seeds than the other lines' says so.
        seeds_note = f" ({seeds} of {most_seeds} seeds)" if 0 < seeds < most_seeds else ""
        cells = [
            f"{record['line']} *" if is_reference else record["line"],
            record["split"],
            record["masks"],
            format_spread(record["dice"], record["dice_sd"]) + seeds_note,
            format_spread(record["iou"], record["iou_sd"]),
            "" if is_reference else format_interval(record),
            record["paper_camelyon17"],
            record["paper_camelyon16"],
            record["paper_internal"],
        ]
        lines.append(format_cells(cells))
    return "\n".join([*lines, ""])


def _last_predictor(row: AblationRow) -> str:
    """The predictor that a row's last stage trains."""
    if row.until == "masks":
        return INITIAL
    if row.until == "preliminary":
        return PRELIMINARY

    # Fewer rounds than the default: compare with the paper's method after as many.
    words = row.flags["RETRAIN_FLAGS"]
    if "--n_iter" in words[:-1]:
        return f"round {words[words.index('--n_iter') + 1]}"
    return FINAL


def _scores_by_seed(line: TableLine, results: Results) -> dict[int, PatchMetrics]:
    """The scores of a line's predictor, for the seeds that have any."""
    scores: dict[int, PatchMetrics] = {}
    for row in list(results) if line.row == ANY_ROW else [line.row]:
        for seed, of_run in results.get(row, {}).items():
            key = find_score(line, of_run)
            if key is not None:
                scores.setdefault(seed, of_run[key])
    return scores


def _name_drawn(scores: Mapping[int, PatchMetrics]) -> str:
    """What the interval of a line draws; empty for a line without scores."""
    return next((metrics.drawn for metrics in scores.values()), "")


def _name_of_masks(line: TableLine, results: Results) -> str:
    """The line's predictor as its runs call it."""
    for of_run in results.get(line.row, {}).values():
        key = find_score(line, of_run)
        if key is not None:
            return key[1]
    return line.predictor


def _summarize(
    scores: Mapping[int, PatchMetrics], reference: Mapping[int, PatchMetrics]
) -> dict[str, float]:
    """Mean and deviation over seeds, and the difference in Dice from the reference, in 0..1."""
    dice_of_seeds = []
    iou_of_seeds = []
    for metrics in scores.values():
        dice_of_seeds.append(mean_over_patches(metrics.dice))
        iou_of_seeds.append(mean_over_patches(metrics.iou))
    dice, dice_sd = mean_sd(dice_of_seeds)
    iou, iou_sd = mean_sd(iou_of_seeds)

    # A seed that only one of them has would count as a difference between the two.
    common_seeds = sorted(scores.keys() & reference.keys())
    difference = paired_difference(
        mean_over_seeds([reference[seed].dice for seed in common_seeds]),
        mean_over_seeds([scores[seed].dice for seed in common_seeds]),
        cases=scores[common_seeds[0]].cases if common_seeds else None,
    )
    return {
        "dice": dice,
        "dice_sd": dice_sd,
        "iou": iou,
        "iou_sd": iou_sd,
        "difference": difference.mean,
        "low": difference.low,
        "high": difference.high,
    }
