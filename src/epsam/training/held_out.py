"""Which slides and images are of val or test, or of the same case as one: they are never learnt
from.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from epsam.core.files import file_size, quick_hash, read_table
from epsam.data.patches import list_split_patches
from epsam.extraction.discovery import list_files
from epsam.extraction.splits import normalize_slide_name, patient_of, read_splits
from epsam.paths import DatasetPaths
from epsam.tables import CASE_COLUMN, SLIDE_COLUMN
from epsam.wsi.reader import SLIDE_SUFFIXES

HELD_OUT = ("val", "test")
MIN_INSIDE = 4
"""This project: a shorter name of a case or slide means something only where an image's begins."""


@dataclass(frozen=True)
class HeldOutSlides:
    """names: of the slides of val and test, normalized. cases: of these slides, and of patches
    there. paths: the slides' files, as far as they are there. patches: the files of patches there.
    """

    names: set[str]
    cases: set[str]
    paths: list[Path]
    patches: list[Path] = field(default_factory=list)

    def holds(self, name: str, path: Path | None) -> bool:
        """Whether a slide is one of them, a copy of one under another name, or of the same case."""
        slide = normalize_slide_name(name)
        if slide in self.names or patient_of(slide) in self.cases or name in self.cases:
            return True
        return path is not None and any(is_copy(path, other) for other in self.paths)

    def holds_image(self, name: str, path: Path) -> bool:
        """Whether a plain image is a copy of a patch there, or has the name of one of these cases
        or slides in its own, as patches mostly do.
        """
        if any(_stands_in(other, name) for other in self.names | self.cases):
            return True
        return any(is_copy(path, other) for other in self.patches)


def find_held_out(paths: DatasetPaths) -> HeldOutSlides:
    """The slides of val and test by the dataset's tables, and by the folders of these splits."""
    names: set[str] = set()
    cases: set[str] = set()
    for table in (paths.patch_table, paths.slide_table):
        for row in read_table(table, ()) if table.is_file() else []:
            if row.get("split") in HELD_OUT:
                names.add(normalize_slide_name(row.get(SLIDE_COLUMN, "").strip()))
                cases.add(row.get(CASE_COLUMN, "").strip())
    # Slides of these splits that gave no patches.
    splits = read_splits(paths.split_table) if paths.split_table.is_file() else {}
    names |= {slide for slide, split in splits.items() if split in HELD_OUT}
    folders = [paths.split(split) for split in HELD_OUT]
    in_folders = list_slide_files(folders)
    names |= {normalize_slide_name(name) for name in in_folders}
    names.discard("")
    cases |= {patient_of(name) for name in names}
    cases.discard("")

    files = list(in_folders.values())
    for name, path in list_slide_files([paths.slides]).items():
        if normalize_slide_name(name) in names:
            files.append(path)
    patches = []
    for folder in folders:
        patches += [patch.image for patch in list_split_patches(folder)]
    return HeldOutSlides(names, cases, files, patches)


def list_slide_files(sources: Sequence[Path]) -> dict[str, Path]:
    """Slides below the folders, or these files themselves, by name without suffix."""
    slides: dict[str, Path] = {}
    for source in sources:
        for path in [source] if source.is_file() else list_files(source):
            if path.suffix.lower() in SLIDE_SUFFIXES:
                slides.setdefault(path.stem, path)
    return slides


def is_copy(path: Path, other: Path) -> bool:
    """Whether two files have the same content, by their size and parts of it."""
    return file_size(path) == file_size(other) and quick_hash(path) == quick_hash(other)


def _stands_in(name: str, image: str) -> bool:
    """Whether a name of a case or slide stands in an image's, not within a longer number or word:
    2001837 in adeno-GT2001837-1, and not in 12001837.
    """
    before = r"(?<!\d)" if name[0].isdigit() else r"(?<![^\W\d_])"
    after = r"(?!\d)" if name[-1].isdigit() else r"(?![^\W\d_])"
    find = re.search if len(name) >= MIN_INSIDE else re.match
    return find(before + re.escape(name) + after, image) is not None
