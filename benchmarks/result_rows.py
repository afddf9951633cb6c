"""Rows of the tables in docs/results, which outlive the runs that they were measured on."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from epsam.core.files import read_table, write_table


def append_rows(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows at the end of a CSV file, which need not be there; those of other days stay."""
    earlier = read_table(path, columns) if path.is_file() else []
    write_table(path, columns, [*earlier, *rows])
