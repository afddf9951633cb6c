"""What lies in a dataset's images/ and annotations/: slides, their outlines, and what each slide is
used for.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from epsam.core.errors import DatasetError
from epsam.extraction.splits import normalize_slide_name
from epsam.wsi.reader import SLIDE_SUFFIXES

USED, EXCLUDED, FAILED, UNUSED = "used", "excluded", "failed", "unused"


@dataclass(frozen=True)
class SlideRecord:
    """One slide of a dataset: its files, its split, and whether it is used.

    `unannotated_is_normal`: tissue outside of the annotations is known to hold no tumour, so it may
    become negative patches.
    """

    name: str
    path: Path | None
    annotations: Path | None
    unannotated_is_normal: bool = True
    split: str = ""
    status: str = USED
    reason: str = ""

    def mark_as(self, status: str, reason: str) -> "SlideRecord":
        """A copy of the record with another status and the reason for it."""
        return replace(self, status=status, reason=reason)


def discover_slides(
    images: Path, annotations: Path, labels: Mapping[str, str]
) -> tuple[list[SlideRecord], Counter[str]]:
    """Every slide and every outline file under the two folders, and the suffixes of files that are
    neither, counted.

    A slide without outlines is used only if it is known to be normal, by its name or by `labels`:
    otherwise what it holds is unknown. Raises DatasetError if there is no slide at all.
    """
    files = list_files(images)
    slides = [path for path in files if path.suffix.lower() in SLIDE_SUFFIXES]
    ignored = Counter(
        path.suffix.lower() or path.name
        for path in files
        if path.suffix.lower() not in SLIDE_SUFFIXES
    )
    if not slides:
        found = (
            ", ".join(f"{count} {suffix}" for suffix, count in sorted(ignored.items())) or "nothing"
        )
        raise DatasetError(
            f"{images}: no slide; found {found}; put slides there ({' '.join(SLIDE_SUFFIXES)}), "
            "or your own patches into train/image, val/image and test/image"
        )
    outlines = _by_name([path for path in list_files(annotations) if path.suffix.lower() == ".xml"])
    by_name = _by_name(slides)
    records = [
        _record(name, paths, outlines.get(name, []), labels.get(name, ""))
        for name, paths in by_name.items()
    ]
    lonely = [
        SlideRecord(
            name,
            None,
            paths[0],
            status=UNUSED,
            reason=f"outlines without a slide in {images.name}/",
        )
        for name, paths in outlines.items()
        if name not in by_name
    ]
    return sorted([*records, *lonely], key=lambda record: record.name), ignored


def _record(name: str, paths: Sequence[Path], outlines: Sequence[Path], label: str) -> SlideRecord:
    record = SlideRecord(
        name, paths[0], outlines[0] if outlines else None, unannotated_is_normal=label != "partial"
    )
    for kind, found in (("slides", paths), ("outline files", outlines)):
        if len(found) > 1:
            return record.mark_as(
                FAILED, f"{len(found)} {kind} of this name ({', '.join(map(str, found))}); keep one"
            )
    if not outlines and label != "normal" and not name.startswith("normal_"):
        return record.mark_as(
            UNUSED, "no outlines and not known to be normal (label it in splits.csv if it is)"
        )
    return record


def list_files(folder: Path) -> list[Path]:
    """Files in a folder and in those below, also where these are links to another disk; hidden
    files are left out.
    """
    found: list[Path] = []
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        # A link that leads back up would be walked for ever, two of them in ever more ways.
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        found += [Path(place, name) for name in names]
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


def _by_name(paths: Sequence[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(normalize_slide_name(path.stem), []).append(path)
    return found


def apply_exclusions(
    records: Sequence[SlideRecord], exclusions: Mapping[str, tuple[str, str]]
) -> list[SlideRecord]:
    """The records with the slides of an exclusion table left out; `check` rows stay, with their
    reason.
    """
    changed = []
    for record in records:
        action, reason = exclusions.get(record.name, ("", ""))
        if record.status == USED and action == "drop":
            record = record.mark_as(EXCLUDED, reason)
        elif record.status == USED and action:
            record = replace(record, reason=f"{action}: {reason}")
        changed.append(record)
    return changed


def assign_splits(
    records: Sequence[SlideRecord], splits: Mapping[str, str], source: str
) -> list[SlideRecord]:
    """The records with their splits; a used slide that `splits` (from `source`) does not list
    becomes unused.
    """
    placed = []
    for record in records:
        record = replace(record, split=splits.get(record.name, ""))
        if record.status == USED and not record.split:
            record = record.mark_as(UNUSED, f"not listed in {source}")
        placed.append(record)
    return placed
