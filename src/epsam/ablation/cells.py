"""Cells of the tables, as Markdown."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def format_cells(values: Sequence[str]) -> str:
    return f"| {' | '.join(values)} |"


def format_spread(mean: float, deviation: float) -> str:
    if math.isnan(mean):
        return "–"
    return f"{mean:.2f}" if math.isnan(deviation) else f"{mean:.2f} ± {deviation:.2f}"


def format_interval(record: Mapping[str, Any]) -> str:
    if math.isnan(record["difference"]):
        return "–"
    return f"{record['difference']:+.2f} [{record['low']:+.2f}, {record['high']:+.2f}]"
