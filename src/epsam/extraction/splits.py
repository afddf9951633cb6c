"""Which slide is in which split, and which slides are left out: from tables, or by a seeded
ratio.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from epsam.config.common import SPLITS
from epsam.core.errors import DatasetError
from epsam.core.files import read_table
from epsam.core.seeding import seed_for

_NUMBERED = re.compile(r"(tumor|normal|test)_(\d+)", re.IGNORECASE)
_NODE = re.compile(r"patient_(\d+)_node_(\d+)", re.IGNORECASE)
_TCGA = re.compile(r"TCGA-\w{2}-\w{4}", re.IGNORECASE)


def normalize_slide_name(stem: str) -> str:
    """A slide's name in the form the tables use: CAMELYON's numbers get their zeros (`tumor_1` →
    `tumor_001`).

    Names are compared whole: '061' alone would be three slides of CAMELYON16 (methods D50, D52).
    """
    numbered = _NUMBERED.fullmatch(stem)
    if numbered:
        return f"{numbered[1].lower()}_{int(numbered[2]):03d}"
    node = _NODE.fullmatch(stem)
    return f"patient_{int(node[1]):03d}_node_{int(node[2])}" if node else stem


def patient_of(slide: str) -> str:
    """The patient that a slide's name tells (CAMELYON17, TCGA), or the slide itself."""
    node = _NODE.fullmatch(slide)
    barcode = _TCGA.match(slide)
    if node:
        return f"patient_{int(node[1]):03d}"
    return barcode[0].upper() if barcode else slide


def read_splits(table: Path, dataset: str = "") -> dict[str, str]:
    """Slide → split from a table with the columns slide and split; with `dataset`, only rows of
    that dataset.

    Raises DatasetError on an unknown split or a slide in two of them.
    """
    rows = read_table(table, ("slide", "split", "dataset") if dataset else ("slide", "split"))
    found: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        if dataset and row["dataset"] != dataset:
            continue
        slide, split = normalize_slide_name(row["slide"].strip()), row["split"].strip()
        if split not in SPLITS:
            raise DatasetError(f"{table} line {number}: split {split!r}; write {', '.join(SPLITS)}")
        if found.setdefault(slide, split) != split:
            raise DatasetError(
                f"{table} line {number}: {slide} is in {found[slide]} and in {split}; keep one"
            )
    return found


def read_labels(table: Path) -> dict[str, str]:
    """Slide → label from the optional column `label`: `normal` (holds no tumour), `partial` (not
    all is outlined).

    Raises DatasetError on another label.
    """
    found = {}
    for number, row in enumerate(read_table(table, ("slide",)), start=2):
        label = row.get("label", "").strip()
        if label not in ("", "normal", "partial"):
            raise DatasetError(
                f"{table} line {number}: label {label!r}; write normal, partial or nothing"
            )
        if label:
            found[normalize_slide_name(row["slide"].strip())] = label
    return found


def read_exclusions(table: Path, dataset: str) -> dict[str, tuple[str, str]]:
    """Slide → (action, reason) for one dataset; action `drop` leaves a slide out, `check` only says
    so.
    """
    rows = read_table(table, ("dataset", "slide", "action", "reason"))
    return {
        normalize_slide_name(row["slide"]): (row["action"], row["reason"])
        for row in rows
        if row["dataset"] == dataset
    }


def split_by_ratio(
    outlined: Mapping[str, bool], ratio: Sequence[float], seed: int
) -> dict[str, str]:
    """Slide → split at about `ratio` (train, val, test), given whether each slide has tumour
    outlined.

    Slides of one patient stay together. Patients with outlines are shared out first, so that every
    split gets positives as far as they go round; no split stays empty while there are enough
    patients. The order in which places are given depends on the seed and the names, not on the
    order of files. Raises DatasetError if the ratio has a negative share or none at all.
    """
    if min(ratio) < 0 or sum(ratio) <= 0:
        raise DatasetError(
            f"split_ratio {','.join(map(str, ratio))}: no shares; give three such as 0.7,0.1,0.2"
        )
    patients: dict[str, list[str]] = {}
    for slide in sorted(outlined):
        patients.setdefault(patient_of(slide), []).append(slide)
    order = sorted(patients, key=lambda patient: seed_for(seed, "split", patient))
    with_tumour = [
        patient for patient in order if any(outlined[slide] for slide in patients[patient])
    ]
    without = [patient for patient in order if patient not in set(with_tumour)]
    taken = [0, 0, 0]
    found: dict[str, str] = {}
    for group in (with_tumour, without):
        counts = _apportion(len(group), ratio, [not count for count in taken])
        places = [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
        for patient, split in zip(group, places, strict=True):
            found.update(dict.fromkeys(patients[patient], split))
        taken = [before + count for before, count in zip(taken, counts, strict=True)]
    return found


def _apportion(total: int, ratio: Sequence[float], empty: Sequence[bool]) -> list[int]:
    """Whole numbers that sum to `total` at about `ratio`; first one for each empty split that has a
    share.
    """
    counts = [0, 0, 0]
    for place in range(3):
        if empty[place] and ratio[place] > 0 and sum(counts) < total:
            counts[place] = 1
    while sum(counts) < total:
        lacking = [
            share / sum(ratio) * total - count for share, count in zip(ratio, counts, strict=True)
        ]
        allowed = [place for place in range(3) if ratio[place] > 0]
        counts[max(allowed, key=lambda place: lacking[place])] += 1
    return counts
