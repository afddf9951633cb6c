"""The paper's tables out of the scores of many runs, as records and as Markdown."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from epsam.ablation.paper_tables import FINAL, TABLES, Line, Table
from epsam.ablation.results import Key, MeanScore
from epsam.ablation.rows import Row
from epsam.ablation.statistics import mean_sd, over_seeds, paired_difference
from epsam.tables import INITIAL, PRELIMINARY

HEADER = ("", "split", "masks", "Dice", "IoU", "Δ Dice [95 %]", "paper: C17", "C16", "internal")
NOTE = (
    "Per cent, means over the positive patches of the split, then mean ± sample standard deviation over seeds. "
    "Δ is the difference in Dice from the line marked *, patch by patch, averaged over the seeds that both have, "
    "with the percentile bootstrap interval over patches. Paper: Dice / IoU on its own data; – is not reported or "
    "not known here."
)

Results = Mapping[str, Mapping[int, Mapping[Key, MeanScore]]]
"""Row name → seed → the scores of that run."""


def all_tables(rows: Sequence[Row]) -> list[Table]:
    """The paper's tables, and those of the rows that are in none of them: one for each point at
    which rows end, so that a row is compared with what the paper's method has made by then.
    """
    placed = {line.row for table in TABLES for line in table.lines}
    ends: dict[str, list[Row]] = {}
    for row in rows:
        if row.name not in placed:
            ends.setdefault(_end_of(row), []).append(row)
    return [
        *TABLES,
        *(
            Table(
                f"other_{end.replace(' ', '_')}",
                f"Other rows: {end}",
                "paper",
                tuple(
                    Line(name, name, "test", end)
                    for name in ("paper", *(row.name for row in found))
                ),
            )
            for end, found in ends.items()
        ),
    ]


def _end_of(row: Row) -> str:
    """What a row's last stage makes."""
    if row.until != "rounds":
        return {"masks": INITIAL, "preliminary": PRELIMINARY}[row.until]
    words = row.flags["RETRAIN_FLAGS"]
    return f"round {words[words.index('--n_iter') + 1]}" if "--n_iter" in words[:-1] else FINAL


def records_of(table: Table, results: Results, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A record for each line; figures in per cent, nan where a run has no such scores."""
    flags = {row.name: row.shown for row in rows}
    reference = next(line for line in table.lines if line.label == table.reference)
    base = _scores(reference, results)
    return [
        _record(table, line, _scores(line, results), base) | {"flags": flags.get(line.row, "")}
        for line in table.lines
    ]


def markdown(table: Table, records: Sequence[Mapping[str, Any]]) -> str:
    """A table for people: title and lines; NOTE says what the figures are."""
    seeds = max((int(record["seeds"]) for record in records), default=0)
    lines = [
        f"### Table {table.number}: {table.title}"
        if table.number.isdigit()
        else f"### {table.title}",
        "",
    ]
    lines += [_cells(HEADER), _cells(["---"] * len(HEADER))]
    for record in records:
        mark = " *" if record["line"] == table.reference else ""
        lines.append(
            _cells(
                [
                    f"{record['line']}{mark}",
                    record["split"],
                    record["masks"],
                    _spread(record["dice"], record["dice_sd"])
                    + _fewer(int(record["seeds"]), seeds),
                    _spread(record["iou"], record["iou_sd"]),
                    "" if mark else _interval(record),
                    record["paper_camelyon17"],
                    record["paper_camelyon16"],
                    record["paper_internal"],
                ]
            )
        )
    return "\n".join([*lines, ""])


def _scores(line: Line, results: Results) -> dict[int, MeanScore]:
    key = (line.split, line.what)
    return {seed: found[key] for seed, found in results.get(line.row, {}).items() if key in found}


def _record(
    table: Table, line: Line, scores: Mapping[int, MeanScore], base: Mapping[int, MeanScore]
) -> dict[str, Any]:
    dice, dice_sd = mean_sd([_mean(found.dice) for found in scores.values()])
    iou, iou_sd = mean_sd([_mean(found.iou) for found in scores.values()])
    common = sorted(scores.keys() & base.keys())
    before, own = (over_seeds([one[seed].dice for seed in common]) for one in (base, scores))
    gain = paired_difference(before, own)
    figures = {
        "dice": dice,
        "dice_sd": dice_sd,
        "iou": iou,
        "iou_sd": iou_sd,
        "difference": gain.mean,
        "low": gain.low,
        "high": gain.high,
    }
    return {
        "table": table.number,
        "line": line.label,
        "row": line.row,
        "split": line.split,
        "masks": line.what,
        "patches": max((len(found.dice) for found in scores.values()), default=0),
        "seeds": len(scores),
        "paper_camelyon17": line.paper[0],
        "paper_camelyon16": line.paper[1],
        "paper_internal": line.paper[2],
        **{name: round(100 * value, 4) for name, value in figures.items()},
    }


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)


def _cells(values: Sequence[str]) -> str:
    return f"| {' | '.join(values)} |"


def _spread(mean: float, deviation: float) -> str:
    if math.isnan(mean):
        return "–"
    return f"{mean:.2f}" if math.isnan(deviation) else f"{mean:.2f} ± {deviation:.2f}"


def _fewer(seeds: int, most: int) -> str:
    return f" ({seeds} of {most} seeds)" if 0 < seeds < most else ""


def _interval(record: Mapping[str, Any]) -> str:
    if math.isnan(record["difference"]):
        return "–"
    return f"{record['difference']:+.2f} [{record['low']:+.2f}, {record['high']:+.2f}]"
