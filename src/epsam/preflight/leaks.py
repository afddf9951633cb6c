"""Do two splits share a patch, a slide, a case or a patient?"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from epsam.config.common import SPLITS
from epsam.core.files import read_table, sha256_of
from epsam.data.cases import load_cases
from epsam.data.patches import Patch, list_labelled_patches
from epsam.extraction.splits import patient_of
from epsam.paths import DatasetPaths
from epsam.preflight.finding import Finding, warning

N_EXAMPLES = 5
_PLACE = re.compile(r"_x\d+_y\d+_[01]$")
"""What follows the slide in the name of an extracted patch."""


def check_leaks(paths: DatasetPaths) -> Iterator[Finding]:
    """No patch is in two splits by content, and no slide, case or patient by tables and names."""
    patches_by_split = {}
    for split in SPLITS:
        patches_by_split[split] = list_labelled_patches(paths.split(split))

    pairs = list(_find_equal_patches(patches_by_split))
    if pairs:
        first, second = pairs[0]
        yield warning(
            f"{len(pairs)} patches are in two splits, such as {first} and {second}: scores on them "
            "are too good; remove one of each"
        )

    slides = _load_slides(paths.patch_table)
    cases = load_cases(paths.patch_table)
    for kind, groups in (("slides", slides), ("cases", cases)):
        yield from _report_shared(kind, patches_by_split, groups)
    patients = {}
    for patches in patches_by_split.values():
        for patch in patches:
            slide = slides.get(patch.name) or _PLACE.sub("", patch.name)
            patient = patient_of(slide)
            # A name that tells no patient is returned as it is.
            if patient != slide:
                patients[patch.name] = patient
    yield from _report_shared("patients", patches_by_split, patients)


def _find_equal_patches(
    patches_by_split: Mapping[str, list[Patch]],
) -> Iterator[tuple[Path, Path]]:
    """Pairs of image files of two splits with the same content."""
    by_size: dict[int, list[tuple[str, Path]]] = {}
    for split, patches in patches_by_split.items():
        for patch in patches:
            by_size.setdefault(patch.image.stat().st_size, []).append((split, patch.image))

    # Only files of one size can be equal, so that hardly any is read.
    for files in by_size.values():
        if len({split for split, _ in files}) < 2:
            continue
        first_of: dict[str, tuple[str, Path]] = {}
        for split, path in files:
            earlier_split, earlier = first_of.setdefault(sha256_of(path), (split, path))
            if earlier_split != split:
                yield earlier, path


def _load_slides(table: Path) -> dict[str, str]:
    """Patch name → slide, where patches.csv states one."""
    if not table.is_file():
        return {}
    slides = {}
    for row in read_table(table, ("id", "label")):
        if row.get("slide"):
            slides[f"{row['id']}_{row['label']}"] = row["slide"]
    return slides


def _report_shared(
    kind: str, patches_by_split: Mapping[str, list[Patch]], group_of: Mapping[str, str]
) -> Iterator[Finding]:
    """A warning if patches of one group are in more than one split."""
    splits_of: dict[str, dict[str, None]] = {}
    for split, patches in patches_by_split.items():
        for patch in patches:
            if patch.name in group_of:
                splits_of.setdefault(group_of[patch.name], {})[split] = None
    shared = sorted(group for group, splits in splits_of.items() if len(splits) > 1)
    if shared:
        examples = []
        for group in shared[:N_EXAMPLES]:
            examples.append(f"{group} in {' and '.join(splits_of[group])}")
        yield warning(
            f"{len(shared)} {kind} have patches in two splits ({', '.join(examples)}): scores on "
            "them are too good; move all patches of one into one split"
        )
