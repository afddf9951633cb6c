"""The tables of docs/results.md and docs/real_tissue.md, made from the CSV files in docs/results/.

    python benchmarks/result_tables.py

A table stands between two comments. The first one says where it comes from:

    <!-- table
    file: rounds.csv
    where: dataset=demo; split=test
    rows: quantile; seed
    columns: masks
    value: dice
    -->

Either `rows`, `columns` and `value` name fields: one line for each value of `rows`, one column for
each value of `columns`. Or `show` lists columns as `Header = {field} ± {other field}`; where the
first field is empty, so is the cell, and where another one is empty, only the first is printed.
A field of `where` may have one of several values, as in `masks=unet|deeplab`. Values are printed as
the file holds them, in the file's order.
"""

import csv
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = (DOCS / "results.md", DOCS / "real_tissue.md")
TABLE = re.compile(r"(<!-- table\n(.*?)-->\n).*?(<!-- end -->)", re.DOTALL)
FIELD = re.compile(r"{(\w+)}")

Row = dict[str, str]


def fill_page(text: str, folder: Path) -> str:
    """The page's text with every table made anew from the files in `folder`."""

    def fill(match: re.Match[str]) -> str:
        settings = dict(line.split(": ", 1) for line in match[2].splitlines())
        return f"{match[1]}\n{make_table(settings, folder)}\n\n{match[3]}"

    return TABLE.sub(fill, text)


def make_table(settings: dict[str, str], folder: Path) -> str:
    rows = read_rows(folder / settings["file"], settings.get("where", ""))
    if "show" in settings:
        lines = listed_lines(rows, settings["show"])
    else:
        lines = pivoted_lines(
            rows, settings["rows"].split("; "), settings["columns"].split("; "), settings["value"]
        )
    header, *body = lines
    return "\n".join(format_line(line) for line in (header, ["---"] * len(header), *body))


def read_rows(path: Path, where: str) -> list[Row]:
    """The rows of a CSV file that have the values that `where` asks for."""
    conditions = [condition.split("=", 1) for condition in where.split("; ") if condition]
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    chosen = []
    for row in rows:
        if all(row[field] in values.split("|") for field, values in conditions):
            chosen.append(row)

    # A condition that no row meets is a typing error on the page, not an empty table.
    if not chosen:
        raise ValueError(f"{path}: no row with {where}")
    return chosen


def listed_lines(rows: list[Row], show: str) -> list[list[str]]:
    columns = [column.split(" = ", 1) for column in show.split("; ")]
    lines = [[header for header, _ in columns]]
    for row in rows:
        lines.append([fill_cell(template, row) for _, template in columns])
    return lines


def fill_cell(template: str, row: Row) -> str:
    fields = FIELD.findall(template)
    if all(row[field] for field in fields):
        return template.format(**row)
    return row[fields[0]]


def pivoted_lines(
    rows: list[Row], row_fields: list[str], column_fields: list[str], value: str
) -> list[list[str]]:
    cells: dict[tuple[str, ...], dict[tuple[str, ...], str]] = {}
    headers: dict[tuple[str, ...], None] = {}
    for row in rows:
        line = tuple(row[field] for field in row_fields)
        column = tuple(row[field] for field in column_fields)
        headers[column] = None
        by_column = cells.setdefault(line, {})
        if column in by_column:
            raise ValueError(f"two values for {line}, {column}")
        by_column[column] = row[value]
    lines = [[*row_fields, *(", ".join(filter(None, header)) for header in headers)]]
    for line, by_column in cells.items():
        lines.append([*line, *(by_column.get(header, "") for header in headers)])
    return lines


def format_line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    for page in PAGES:
        text = fill_page(page.read_text("utf-8"), DOCS / "results")
        page.write_text(text, "utf-8", newline="\n")
