"""Which case or slide a patch is of, as columns of patches.csv say, where they are there."""

from pathlib import Path

from epsam.core.files import read_table


def load_cases(table: Path) -> dict[str, str]:
    """Patch name → case; empty without the table, without the column, or where it is empty.

    Raises DatasetError if the table cannot be read.
    """
    return _load_column(table, "case")


def load_slides(table: Path) -> dict[str, str]:
    """The same for slides."""
    return _load_column(table, "slide")


def _load_column(table: Path, column: str) -> dict[str, str]:
    if not table.is_file():
        return {}
    values = {}
    for row in read_table(table, ("id", "label")):
        value = row.get(column, "").strip()
        if value:
            values[f"{row['id']}_{row['label']}"] = value
    return values
