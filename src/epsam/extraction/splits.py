"""Splits and exclusions of slides, from tables; splits also by a seeded ratio."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from epsam.config.common import SPLITS
from epsam.core.errors import DatasetError
from epsam.core.files import read_table
from epsam.core.seeding import seed_for

_CAMELYON16 = re.compile(r"(tumor|normal|test)_(\d+)", re.IGNORECASE)
_CAMELYON17 = re.compile(r"patient_(\d+)_node_(\d+)", re.IGNORECASE)
_TCGA = re.compile(r"TCGA-\w{2}-\w{4}", re.IGNORECASE)


def normalize_slide_name(stem: str) -> str:
    """A slide's name as the tables spell it, with CAMELYON's zeros: `tumor_1` → `tumor_001`.

    Any other name stays as it is. Names are compared as a whole: '061' alone would match three
    slides of CAMELYON16 (docs/deviations.md, "Slide names").
    """
    numbered = _CAMELYON16.fullmatch(stem)
    if numbered:
        return f"{numbered[1].lower()}_{int(numbered[2]):03d}"
    node = _CAMELYON17.fullmatch(stem)
    if node:
        return f"patient_{int(node[1]):03d}_node_{int(node[2])}"
    return stem


def patient_of(slide: str) -> str:
    """The patient in a slide's name (CAMELYON17, TCGA); else the slide stands for the patient."""
    node = _CAMELYON17.fullmatch(slide)
    if node:
        return f"patient_{int(node[1]):03d}"
    barcode = _TCGA.match(slide)
    if barcode:
        return barcode[0].upper()
    return slide


def read_splits(table: Path, dataset: str = "") -> dict[str, str]:
    """Slide → split from a table with the columns slide and split.

    With `dataset`, the table also has a column of that name and only its rows count. Raises
    DatasetError on an unknown split, and on a slide in two of them.
    """
    required = ("slide", "split", "dataset") if dataset else ("slide", "split")
    splits: dict[str, str] = {}
    # Line 1 is the header.
    for number, row in enumerate(read_table(table, required), start=2):
        if dataset and row["dataset"] != dataset:
            continue
        slide = normalize_slide_name(row["slide"].strip())
        split = row["split"].strip()
        if split not in SPLITS:
            raise DatasetError(f"{table} line {number}: split {split!r}; write {', '.join(SPLITS)}")
        if splits.setdefault(slide, split) != split:
            raise DatasetError(
                f"{table} line {number}: {slide} is in {splits[slide]} and in {split}; keep one"
            )
    return splits


def read_exclusions(table: Path, dataset: str) -> dict[str, tuple[str, str]]:
    """Slide → (action, reason) for one dataset: `drop` excludes a slide, `check` only warns."""
    exclusions = {}
    for row in read_table(table, ("dataset", "slide", "action", "reason")):
        if row["dataset"] == dataset:
            exclusions[normalize_slide_name(row["slide"])] = (row["action"], row["reason"])
    return exclusions


def split_by_ratio(
    is_annotated: Mapping[str, bool], ratio: Sequence[float], seed: int
) -> dict[str, str]:
    """Assign slides to train, val and test at about `ratio`; returns slide → split.

    `is_annotated`: slide → whether tumour is annotated on it. Slides of one patient stay together
    (docs/deviations.md, "Patients across splits"). The result depends on the seed and the names,
    not on the order of files. Raises DatasetError if a fraction of `ratio` is negative or all are
    zero.
    """
    if min(ratio) < 0 or sum(ratio) <= 0:
        raise DatasetError(
            f"split_ratio {','.join(map(str, ratio))}: fractions have to be 0 or more, and not all "
            "0; give three such as 0.7,0.1,0.2"
        )
    slides_by_patient: dict[str, list[str]] = {}
    for slide in sorted(is_annotated):
        slides_by_patient.setdefault(patient_of(slide), []).append(slide)

    shuffled = sorted(slides_by_patient, key=lambda patient: seed_for(seed, "split", patient))
    annotated, unannotated = [], []
    for patient in shuffled:
        if any(is_annotated[slide] for slide in slides_by_patient[patient]):
            annotated.append(patient)
        else:
            unannotated.append(patient)

    # Annotated patients go first, so that as many splits as possible get positives.
    splits: dict[str, str] = {}
    patients_per_split = [0, 0, 0]
    for patients in (annotated, unannotated):
        is_empty = [count == 0 for count in patients_per_split]
        counts = _apportion(len(patients), ratio, is_empty)
        first = 0
        for number, split in enumerate(SPLITS):
            for patient in patients[first : first + counts[number]]:
                splits.update(dict.fromkeys(slides_by_patient[patient], split))
            first += counts[number]
            patients_per_split[number] += counts[number]
    return splits


def _apportion(total: int, ratio: Sequence[float], is_empty: Sequence[bool]) -> list[int]:
    """Three whole numbers that sum to `total`, at about `ratio`."""
    counts = [0, 0, 0]
    with_fraction = [number for number in range(3) if ratio[number] > 0]

    # One for each empty split first: rounding alone would leave a small validation split empty.
    for number in with_fraction:
        if is_empty[number] and sum(counts) < total:
            counts[number] = 1

    def deficit(number: int) -> float:
        return ratio[number] / sum(ratio) * total - counts[number]

    while sum(counts) < total:
        counts[max(with_fraction, key=deficit)] += 1
    return counts
