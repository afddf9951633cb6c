"""Which case a patch is of, as the optional column `case` of patches.csv says."""

from pathlib import Path

from epsam.core.files import read_table


def load_cases(table: Path) -> dict[str, str]:
    """Patch name → case; empty without the table, without the column, or where it is empty.

    Raises DatasetError if the table cannot be read.
    """
    if not table.is_file():
        return {}
    cases = {}
    for row in read_table(table, ("id", "label")):
        case = row.get("case", "").strip()
        if case:
            cases[f"{row['id']}_{row['label']}"] = case
    return cases
