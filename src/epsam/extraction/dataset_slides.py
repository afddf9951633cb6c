"""The slides of a dataset with status and split: files on disk joined with the tables."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from epsam.annotations.groups import GroupNames
from epsam.config.fetch import PUBLIC_DATASETS
from epsam.config.patches import PatchOptions
from epsam.core.errors import DatasetError
from epsam.extraction.discovery import (
    EXCLUDED,
    FAILED,
    INCLUDED,
    UNUSED,
    SlideRecord,
    apply_exclusions,
    assign_splits,
    discover_slides,
)
from epsam.extraction.slide_labels import load_slide_labels, read_label_rules
from epsam.extraction.splits import (
    patient_of,
    read_exclusions,
    read_splits,
    split_by_ratio,
)
from epsam.paths import DatasetPaths

log = logging.getLogger(__name__)

SPLIT_TABLES = {"patient": "splits_patient.csv", "authors": "splits_published.csv"}
EXCLUSION_TABLE = "camelyon_exclusions.csv"
N_EXAMPLES = 5


@dataclass(frozen=True)
class DatasetSlides:
    """All slides of a dataset with split and status.

    `ignored`: suffix → number of files that are no slides. `splits`: slide → split as listed by
    `split_source`, with slides that are not on disk.
    """

    records: list[SlideRecord]
    ignored: Mapping[str, int]
    splits: Mapping[str, str]
    split_source: str


def load_slides(paths: DatasetPaths, tables: Path, options: PatchOptions) -> DatasetSlides:
    """Discover the slides of a dataset, apply the exclusions and assign the splits.

    Splits come from the dataset's own splits.csv, else from the project's tables (folder `tables`)
    if they list the dataset, else from a seeded ratio. Raises DatasetError if there is no slide or
    if a table is wrong.
    """
    if not paths.slides.is_dir():
        fetch = ""
        if options.dataset_type in PUBLIC_DATASETS:
            fetch = f", or fetch it: python src/get_data.py {options.dataset_type}"
        raise DatasetError(
            f"{paths.slides}: no such folder; put slides there and annotations into "
            f"{paths.annotations}, or your own patches into {paths.split('train') / 'image'}{fetch}"
        )
    labels = load_slide_labels(paths.root, read_label_rules(tables, options.dataset_type))
    records, ignored = discover_slides(
        paths.slides, paths.annotations, labels, GroupNames.of(options)
    )
    exclusions = read_exclusions(tables / EXCLUSION_TABLE, options.dataset_type)
    records = apply_exclusions(records, exclusions)

    splits, source = _load_splits(paths, tables, options, records)
    return DatasetSlides(assign_splits(records, splits, source), ignored, splits, source)


def _load_splits(
    paths: DatasetPaths, tables: Path, options: PatchOptions, records: Sequence[SlideRecord]
) -> tuple[dict[str, str], str]:
    """Slide → split, and the source of it."""
    # The user's own table wins over the project's, also for CAMELYON.
    if paths.split_table.is_file():
        return read_splits(paths.split_table), str(paths.split_table)

    table = tables / SPLIT_TABLES[options.split]
    listed_splits = read_splits(table, options.dataset_type)
    if listed_splits:
        return _add_normal_slides(listed_splits, records, options), table.name

    is_annotated = {}
    # Slides that are not used must not take up part of the ratio.
    for record in records:
        if record.status == INCLUDED:
            is_annotated[record.name] = record.annotations is not None
    return split_by_ratio(is_annotated, options.split_ratio, options.seed), "the ratio"


def _add_normal_slides(
    splits: Mapping[str, str], records: Sequence[SlideRecord], options: PatchOptions
) -> dict[str, str]:
    """The splits of this project's table, and those of normal slides that it does not list.

    The authors' lists hold tumour slides alone. A normal slide goes where other slides of its
    patient are, else by the seeded ratio (docs/deviations.md, "Negatives of normal slides").
    """
    split_of_patient = {patient_of(slide): split for slide, split in splits.items()}
    extended = dict(splits)
    others = {}
    for record in records:
        if record.status != INCLUDED or not record.is_normal or record.name in splits:
            continue
        patient = patient_of(record.name)
        if patient in split_of_patient:
            extended[record.name] = split_of_patient[patient]
        else:
            others[record.name] = False
    if others:
        extended.update(split_by_ratio(others, options.split_ratio, options.seed))
    return extended


def log_slides(dataset: DatasetSlides) -> None:
    """Log how many slides are used, which are not and why, and which listed slides are absent."""
    status_counts = Counter(record.status for record in dataset.records)
    log.info("slides: %s; splits from %s", _format_counts(status_counts), dataset.split_source)
    if dataset.ignored:
        log.info("ignored files: %s", _format_counts(dataset.ignored))

    on_disk = {record.name for record in dataset.records if record.path}
    absent = sorted(set(dataset.splits) - on_disk)
    if absent:
        log.info(
            "%d of %d slides of %s are not there: %s%s",
            len(absent),
            len(dataset.splits),
            dataset.split_source,
            ", ".join(absent[:N_EXAMPLES]),
            " …" if len(absent) > N_EXAMPLES else "",
        )
    for record in dataset.records:
        if record.status in (EXCLUDED, FAILED, UNUSED) or record.reason:
            log.info("  %s %s: %s", record.status, record.name, record.reason)


def _format_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
