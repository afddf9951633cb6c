"""Which slides of a dataset are used and in which split: the tables put together with what lies on
disk.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from epsam.config.patches import PatchOptions
from epsam.core.errors import DatasetError
from epsam.extraction.discovery import (
    EXCLUDED,
    FAILED,
    UNUSED,
    USED,
    SlideRecord,
    apply_exclusions,
    assign_splits,
    discover_slides,
)
from epsam.extraction.splits import read_exclusions, read_labels, read_splits, split_by_ratio
from epsam.paths import DatasetPaths

log = logging.getLogger(__name__)

SPLIT_TABLES = {"patient": "splits_patient.csv", "authors": "splits_published.csv"}
EXCLUSION_TABLE = "camelyon_exclusions.csv"


@dataclass(frozen=True)
class DatasetSlides:
    """Slides with split and status, suffixes of files that are no slides with their numbers, and
    the split of every slide that `source` lists, also of those that are not there.
    """

    records: list[SlideRecord]
    ignored: Mapping[str, int]
    splits: Mapping[str, str]
    source: str


def load_and_log_slides(
    paths: DatasetPaths, tables: Path, options: PatchOptions
) -> list[SlideRecord]:
    """All slides of a dataset with split and status, and a log of what is used, left out and
    ignored.

    Raises as `place_slides` does.
    """
    plan = load_slides(paths, tables, options)
    _tell(plan)
    return plan.records


def load_slides(paths: DatasetPaths, tables: Path, options: PatchOptions) -> DatasetSlides:
    """All slides of a dataset with split and status.

    Splits come from the dataset's own splits.csv, else from the project's tables (`tables`) if they
    list the dataset, else from a seeded ratio. Raises DatasetError if there is no slide or a table
    is wrong.
    """
    if not paths.slides.is_dir():
        raise DatasetError(
            f"{paths.slides}: no such folder; put slides there and outlines into {paths.annotations}, "
            f"or your own patches into {paths.split('train') / 'image'}"
        )
    labels = read_labels(paths.split_table) if paths.split_table.is_file() else {}
    records, ignored = discover_slides(paths.slides, paths.annotations, labels)
    records = apply_exclusions(
        records, read_exclusions(tables / EXCLUSION_TABLE, options.dataset_type)
    )
    splits, source = _splits(paths, tables, options, records)
    return DatasetSlides(assign_splits(records, splits, source), ignored, splits, source)


def _splits(
    paths: DatasetPaths, tables: Path, options: PatchOptions, records: Sequence[SlideRecord]
) -> tuple[dict[str, str], str]:
    """Slide → split, and where that comes from."""
    if paths.split_table.is_file():
        return read_splits(paths.split_table), str(paths.split_table)
    table = tables / SPLIT_TABLES[options.split]
    listed = read_splits(table, options.dataset_type)
    if listed:
        return listed, table.name
    outlined = {
        record.name: record.annotations is not None for record in records if record.status == USED
    }
    return split_by_ratio(outlined, options.split_ratio, options.seed), "the ratio"


def _tell(plan: DatasetSlides) -> None:
    records, ignored, splits, source = plan.records, plan.ignored, plan.splits, plan.source
    counts = Counter(record.status for record in records)
    log.info(
        "slides: %s; splits from %s",
        ", ".join(f"{count} {status}" for status, count in sorted(counts.items())),
        source,
    )
    if ignored:
        log.info(
            "ignored files: %s",
            ", ".join(f"{count} {suffix}" for suffix, count in sorted(ignored.items())),
        )
    absent = sorted(set(splits) - {record.name for record in records if record.path})
    if absent:
        log.info(
            "%d of %d slides of %s are not there: %s%s",
            len(absent),
            len(splits),
            source,
            ", ".join(absent[:5]),
            " …" if len(absent) > 5 else "",
        )
    for record in records:
        if record.status in (EXCLUDED, FAILED, UNUSED) or record.reason:
            log.info("  %s %s: %s", record.status, record.name, record.reason)
