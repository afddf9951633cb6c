"""Discover the slides and annotation files of a dataset, and decide what each slide is used for."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from epsam.annotations.groups import BUILT_IN, GroupNames
from epsam.annotations.reader import ANNOTATION_SUFFIXES
from epsam.core.errors import DatasetError
from epsam.extraction.slide_labels import NORMAL, PARTIAL, SlideLabel, SlideLabels
from epsam.extraction.splits import normalize_slide_name
from epsam.wsi.reader import SLIDE_SUFFIXES

INCLUDED, EXCLUDED, FAILED, UNUSED = "used", "excluded", "failed", "unused"


@dataclass(frozen=True)
class SlideRecord:
    """One slide of a dataset: its files, its split, and whether it is used.

    `label`: what a table says of the whole slide. `groups`: what the groups of its annotations
    mean.
    """

    name: str
    path: Path | None
    annotations: Path | None
    label: SlideLabel = SlideLabel()
    split: str = ""
    status: str = INCLUDED
    reason: str = ""
    groups: GroupNames = BUILT_IN

    @property
    def is_normal(self) -> bool:
        """Whether the slide is said to hold no tumour."""
        return self.label.label == NORMAL

    @property
    def unannotated_is_normal(self) -> bool:
        """Whether tissue outside of the annotations holds no tumour, so that it may become
        negative patches.
        """
        return self.label.label != PARTIAL

    def mark_as(self, status: str, reason: str) -> "SlideRecord":
        """A copy of the record with another status and the reason for it."""
        return replace(self, status=status, reason=reason)


def discover_slides(
    images: Path, annotations: Path, labels: SlideLabels, groups: GroupNames = BUILT_IN
) -> tuple[list[SlideRecord], Counter[str]]:
    """Discover all slides and annotation files under two folders.

    Returns a record for each slide and for each annotation file without a slide, sorted by name,
    and the number of ignored files by suffix. A slide without annotations is used only if `labels`
    say that it is normal: otherwise its content is unknown. Raises DatasetError if there is no
    slide at all.
    """
    slide_files: list[Path] = []
    ignored: Counter[str] = Counter()
    for path in list_files(images):
        if path.suffix.lower() in SLIDE_SUFFIXES:
            slide_files.append(path)
        else:
            ignored[path.suffix.lower() or path.name] += 1
    _require_slides(images, slide_files, ignored)

    annotation_files = []
    for path in list_files(annotations):
        if path.suffix.lower() in ANNOTATION_SUFFIXES:
            annotation_files.append(path)
    annotations_by_name = _group_by_slide_name(annotation_files)
    slides_by_name = _group_by_slide_name(slide_files)

    records = []
    for name, paths in slides_by_name.items():
        record = _classify_slide(name, paths, annotations_by_name.get(name, []), labels.find(name))
        records.append(replace(record, groups=groups))

    # Usually a misspelt name: silence would cost the user a slide.
    for name, paths in annotations_by_name.items():
        if name not in slides_by_name:
            # Several files of one name are told once: without a slide none of them is read.
            record = SlideRecord(name, None, paths[0])
            reason = f"outlines without a slide in {images.name}/"
            records.append(record.mark_as(UNUSED, reason))
    return sorted(records, key=lambda record: record.name), ignored


def _require_slides(images: Path, slide_files: Sequence[Path], ignored: Counter[str]) -> None:
    if slide_files:
        return
    counts = ", ".join(f"{count} {suffix}" for suffix, count in sorted(ignored.items()))
    raise DatasetError(
        f"{images}: no slide; found {counts or 'nothing'}; put slides there "
        f"({' '.join(SLIDE_SUFFIXES)}), or your own patches into train/image, val/image and "
        "test/image"
    )


def _classify_slide(
    name: str, paths: Sequence[Path], annotation_files: Sequence[Path], label: SlideLabel
) -> SlideRecord:
    """The record of one slide, used unless its files are ambiguous or its content is unknown."""
    record = SlideRecord(
        name,
        paths[0],
        annotation_files[0] if annotation_files else None,
        label,
    )
    # Nobody can tell which of several files is meant, and a wrong pair makes wrong masks.
    for kind, files in (("slides", paths), ("outline files", annotation_files)):
        if len(files) > 1:
            listed = ", ".join(map(str, files))
            return record.mark_as(FAILED, f"{len(files)} {kind} of this name ({listed}); keep one")
    if not annotation_files and not record.is_normal:
        return record.mark_as(
            UNUSED, "no outlines and not known to be normal (label it in splits.csv if it is)"
        )
    return record


def list_files(folder: Path) -> list[Path]:
    """All files under a folder but hidden ones, sorted; follows links, perhaps to other disks."""
    files: list[Path] = []
    visited: set[str] = set()
    for directory, subdirectories, names in os.walk(folder, followlinks=True):
        # A link that leads back up would be walked for ever, two of them in ever more ways.
        real_path = os.path.realpath(directory)
        if real_path in visited:
            subdirectories.clear()
            continue
        visited.add(real_path)
        files += [Path(directory, name) for name in names]
    return sorted(path for path in files if path.is_file() and not path.name.startswith("."))


def _group_by_slide_name(paths: Sequence[Path]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(normalize_slide_name(path.stem), []).append(path)
    return groups


def apply_exclusions(
    records: Sequence[SlideRecord], exclusions: Mapping[str, tuple[str, str]]
) -> list[SlideRecord]:
    """The records after an exclusion table, slide → (action, reason).

    Action `drop` excludes a slide; any other, such as `check`, stays used and gets the reason.
    """
    updated = []
    for record in records:
        action, reason = exclusions.get(record.name, ("", ""))
        if record.status == INCLUDED and action == "drop":
            record = record.mark_as(EXCLUDED, reason)
        elif record.status == INCLUDED and action:
            record = record.mark_as(INCLUDED, f"{action}: {reason}")
        updated.append(record)
    return updated


def assign_splits(
    records: Sequence[SlideRecord], splits: Mapping[str, str], source: str
) -> list[SlideRecord]:
    """The records with their splits; `splits` maps slides to splits and comes from `source`.

    A used slide that `splits` does not list becomes unused.
    """
    assigned = []
    for record in records:
        record = replace(record, split=splits.get(record.name, ""))
        if record.status == INCLUDED and not record.split:
            record = record.mark_as(UNUSED, f"not listed in {source}")
        assigned.append(record)
    return assigned
