"""Table 1: how many slides and patches each split has."""

from collections.abc import Mapping
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
    """A record for each split; slides are known where step 1 wrote patches.csv."""
    slides = _slides(data.patch_table)
    records = []
    for split in SPLITS:
        patches = list_labelled_patches(data.split(split))
        tumour = len(select_positives(patches))
        records.append(
            {
                "split": split,
                "slides": slides.get(split, "–"),
                "positives": tumour,
                "negatives": len(patches) - tumour,
                "paper_camelyon16": PAPER_POSITIVES[split][0],
                "paper_internal": PAPER_POSITIVES[split][1],
            }
        )
    return records


def markdown(records: list[dict[str, Any]]) -> str:
    """The counts as a table for people."""
    header = "| split | slides | positives | negatives | paper's positives: C16 | internal |"
    lines = ["### Table 1: Patches", "", header, "| --- | --- | --- | --- | --- | --- |"]
    lines += [
        f"| {' | '.join(str(record[name]) for name in DATA_TABLE_COLUMNS)} |" for record in records
    ]
    return "\n".join([*lines, ""])


def _slides(table: Path) -> Mapping[str, int]:
    if not table.is_file():
        return {}
    pairs = {(row["split"], row["slide"]) for row in read_table(table, ("split", "slide"))}
    return {split: sum(where == split for where, _ in pairs) for split, _ in pairs}
