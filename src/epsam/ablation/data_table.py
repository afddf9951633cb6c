"""Table 1: how many slides and patches each split has."""

from collections import Counter
from pathlib import Path
from typing import Any

from epsam.config.common import SPLITS
from epsam.core.files import read_table
from epsam.data.patches import list_labelled_patches, select_positives
from epsam.paths import DatasetPaths
from epsam.tables import DATA_TABLE_COLUMNS

PAPER_POSITIVES = {"train": ("6020", "3111"), "val": ("700", "120"), "test": ("2002", "350")}
"""Positives of CAMELYON16 and of the paper's internal set."""


def count_patches(data: DatasetPaths) -> list[dict[str, Any]]:
    """A record for each split; slides are counted where step 1 wrote patches.csv."""
    slides = _count_slides(data.patch_table)
    records = []
    for split in SPLITS:
        patches = list_labelled_patches(data.split(split))
        positives = len(select_positives(patches))
        records.append(
            {
                "split": split,
                "slides": slides.get(split, "–"),
                "positives": positives,
                "negatives": len(patches) - positives,
                "paper_camelyon16": PAPER_POSITIVES[split][0],
                "paper_internal": PAPER_POSITIVES[split][1],
            }
        )
    return records


def format_data_table(records: list[dict[str, Any]]) -> str:
    """The counts as Markdown."""
    header = "| split | slides | positives | negatives | paper's positives: C16 | internal |"
    lines = ["### Table 1: Patches", "", header, "| --- | --- | --- | --- | --- | --- |"]
    for record in records:
        cells = [str(record[column]) for column in DATA_TABLE_COLUMNS]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _count_slides(table: Path) -> Counter[str]:
    """Slides by split; empty without a table of patches."""
    if not table.is_file():
        return Counter()
    # Patches that the user brought may tell no slide.
    rows = [row for row in read_table(table, ("split",)) if row.get("slide")]
    # A row a patch: a slide occurs many times.
    slides = {(row["split"], row["slide"]) for row in rows}
    return Counter(split for split, _ in slides)
