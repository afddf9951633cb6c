"""Which case or slide a patch is of, as columns of patches.csv say, where they are there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from epsam.core.files import read_table
from epsam.tables import CASE_COLUMN, SLIDE_COLUMN


@dataclass(frozen=True)
class PatchGroups:
    """Patches that resemble each other: patch name → case or slide, as the column says."""

    column: str = CASE_COLUMN
    by_patch: Mapping[str, str] = field(default_factory=dict)


def load_groups(table: Path) -> PatchGroups:
    """Cases if the table states any, else slides. Raises DatasetError if it cannot be read."""
    cases = load_cases(table)
    return (
        PatchGroups(CASE_COLUMN, cases) if cases else PatchGroups(SLIDE_COLUMN, load_slides(table))
    )


def load_cases(table: Path) -> dict[str, str]:
    """Patch name → case; empty without the table, without the column, or where it is empty.

    Raises DatasetError if the table cannot be read.
    """
    return _load_column(table, CASE_COLUMN)


def load_slides(table: Path) -> dict[str, str]:
    """The same for slides."""
    return _load_column(table, SLIDE_COLUMN)


def _load_column(table: Path, column: str) -> dict[str, str]:
    if not table.is_file():
        return {}
    values = {}
    for row in read_table(table, ("id", "label")):
        value = row.get(column, "").strip()
        if value:
            values[f"{row['id']}_{row['label']}"] = value
    return values
