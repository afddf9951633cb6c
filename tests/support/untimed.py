"""What a folder of results holds, byte for byte, without the times, which differ from run to
run.
"""

import csv
from pathlib import Path

TIMED = (
    "record.json",
    "report.html",
    "report.json",
    "model_card.md",
    "timings.json",
    "timings.csv",
    ".lock",
)


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes by path of each file; none of what is hidden, which is half done."""
    paths = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        str(name): untimed(path)
        for name, path in paths.items()
        if path.name not in TIMED and not any(part.startswith(".") for part in name.parts)
    }


def untimed(path: Path) -> bytes:
    """A file's bytes; those of a table with the column `seconds` are the cells of the other
    columns.
    """
    content = path.read_bytes()
    if path.suffix != ".csv":
        return content
    head, *rows = csv.reader(content.decode("utf-8").splitlines(keepends=True)) if content else [[]]
    if "seconds" not in head:
        return content
    at = head.index("seconds")
    return repr([head, *([*row[:at], *row[at + 1 :]] for row in rows)]).encode("utf-8")
