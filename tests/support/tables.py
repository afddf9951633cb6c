"""CSV files as tests read them: by the standard library, not by the code under test."""

import csv
from pathlib import Path


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table, as {column: text}."""
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))
