"""The split of each case: from a table, or drawn. Slices of a case resemble each other, so that all
of them are in one split.
"""

from collections.abc import Sequence
from pathlib import Path

from epsam.config.common import SPLITS
from epsam.core.errors import DatasetError
from epsam.core.files import read_table
from epsam.core.seeding import generator


def draw_splits(cases: Sequence[str], val: float, test: float, seed: int) -> dict[str, str]:
    """The split of each case, drawn by seed; every split gets at least one.

    Raises DatasetError if none is left to train on.
    """
    n_val = max(round(val * len(cases)), 1)
    n_test = max(round(test * len(cases)), 1)
    if len(cases) - n_val - n_test < 1:
        raise DatasetError(
            f"{len(cases)} cases: none is left to train on beside {n_val} for validation and "
            f"{n_test} for test; add cases, or lower --val and --test"
        )
    # Sorted, so that the order of files plays no part.
    names = sorted(cases)
    order = generator(seed, "volumes", "splits").permutation(len(names)).tolist()
    splits = {}
    for place, index in enumerate(order):
        if place < n_val:
            splits[names[index]] = "val"
        elif place < n_val + n_test:
            splits[names[index]] = "test"
        else:
            splits[names[index]] = "train"
    return splits


def read_case_splits(table: Path, cases: Sequence[str]) -> dict[str, str]:
    """The split of each case from a table with the columns case and split.

    Raises DatasetError on an unknown split, a case in two of them, and a case without one.
    """
    splits: dict[str, str] = {}
    # Line 1 is the header.
    for number, row in enumerate(read_table(table, ("case", "split")), start=2):
        case, split = row["case"].strip(), row["split"].strip()
        if split not in SPLITS:
            raise DatasetError(f"{table} line {number}: split {split!r}; write {', '.join(SPLITS)}")
        if splits.setdefault(case, split) != split:
            raise DatasetError(
                f"{table} line {number}: case {case} is in {splits[case]} and in {split}; "
                "leave one of them"
            )
    missing = [case for case in cases if case not in splits]
    if missing:
        raise DatasetError(
            f"{table}: {len(missing)} of {len(cases)} cases have no split, such as {missing[0]}; "
            "add them, or leave --splits out"
        )
    return {case: splits[case] for case in cases}
