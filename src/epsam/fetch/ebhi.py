"""EBHI-Seg (colorectal biopsies; Shi et al. 2023): its folders as a data set of patches.

The set comes as `<class>/{image,label}/<name>.png`. Three of its six classes are taken:
adenocarcinoma is tumour, normal mucosa and polyps are not; the others lie in between.
"""

import logging
import re
import shutil
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from epsam.config.common import SPLITS
from epsam.core.errors import DatasetError
from epsam.core.files import read_table, write_table
from epsam.data.images import read_mask, write_mask
from epsam.tables import BROUGHT_PATCH_COLUMNS

log = logging.getLogger(__name__)

SPLIT_TABLE = "splits_ebhi.csv"
_CASE = re.compile(r"GT[A-Za-z]*(\d+)-")


@dataclass(frozen=True)
class PatchClass:
    """What a class of the set is to us: the beginning of its patches' names, and their label."""

    prefix: str
    label: int


CLASSES = {
    "adenocarcinoma": PatchClass("adeno", 1),
    "normal": PatchClass("normal", 0),
    "polyp": PatchClass("polyp", 0),
}
"""Folder of the set in lower case → what it is to us (this project)."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a ZIP archive into `folder`, which appears whole.

    Raises DatasetError if the file is no ZIP archive or is damaged.
    """
    staging = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as content:
            content.extractall(staging)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise DatasetError(
            f"{archive}: cannot be unpacked ({error}); unpack it by hand into {folder}"
        ) from error
    shutil.rmtree(folder, ignore_errors=True)
    staging.replace(folder)


def convert_ebhi(source: Path, target: Path, split_table: Path) -> Counter[str]:
    """Copy the listed cases of the three classes into `target`/{train,val,test}/{image,mask}.

    Returns how many patches each split got, and under "unused" how many of the three classes are
    of cases that the table does not list. Raises DatasetError if `source` holds no such folders or
    an adenocarcinoma lacks its mask.
    """
    splits = {row["case"]: row["split"] for row in read_table(split_table, ("case", "split"))}
    counts: Counter[str] = Counter()
    for name, patch_class in CLASSES.items():
        folder = _find_class_folder(source, name)
        for image in sorted((folder / "image").glob("*.png")):
            split = splits.get(case_of(image.stem), "")
            counts[split or "unused"] += 1
            if split:
                _copy_patch(image, patch_class, target / split)
    if not any(counts[split] for split in SPLITS):
        raise DatasetError(
            f"{source}: none of its {counts['unused']} images is of a case of {split_table.name}; "
            "names like GT2001837-1-400-001.png are expected"
        )
    return counts


def case_of(stem: str) -> str:
    """The case that an image's name tells, such as 2001837; empty if it tells none."""
    match = _CASE.match(stem)
    return match.group(1) if match else ""


def write_patch_table(target: Path) -> None:
    """Write `target`/patches.csv: split and case of each patch. It names no slides: there are
    none.
    """
    rows = []
    for split in SPLITS:
        for image in sorted((target / split / "image").glob("*.png")):
            patch, _, label = image.stem.rpartition("_")
            case = case_of(patch.partition("-")[2])
            rows.append({"id": patch, "split": split, "label": label, "case": case})
    write_table(target / "patches.csv", BROUGHT_PATCH_COLUMNS, rows)


def _find_class_folder(source: Path, name: str) -> Path:
    """The folder of a class, anywhere below `source`, whatever the case of its letters."""
    for folder in sorted(path for path in source.rglob("*") if path.is_dir()):
        if folder.name.lower() == name and (folder / "image").is_dir():
            return folder
    raise DatasetError(
        f"{source}: no folder {name}/image below it; unpack the data set there so that it holds "
        "<class>/image/*.png and <class>/label/*.png"
    )


def _copy_patch(image: Path, patch_class: PatchClass, split_folder: Path) -> None:
    name = f"{patch_class.prefix}-{image.stem}_{patch_class.label}.png"
    if patch_class.label == 1:
        label_image = image.parent.parent / "label" / image.name
        if not label_image.is_file():
            raise DatasetError(
                f"{image}: no {label_image.name} in {label_image.parent}; unpack again"
            )
        # The mask first: a patch whose image is there is complete.
        write_mask(split_folder / "mask" / name, read_mask(label_image))
    target = split_folder / "image" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(image, target)
