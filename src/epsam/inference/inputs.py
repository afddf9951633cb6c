"""What was handed over for inference: whole slides, or images; and which outlines belong to which
slide.
"""

import logging
from pathlib import Path

from epsam.core.errors import DatasetError
from epsam.data.patches import Patch, list_patches
from epsam.extraction.discovery import (
    FAILED,
    UNUSED,
    USED,
    SlideRecord,
    discover_slides,
    list_files,
)
from epsam.extraction.splits import normalize_slide_name, read_labels
from epsam.wsi.reader import SLIDE_SUFFIXES
from epsam.wsi.tiff import is_slide_tiff

log = logging.getLogger(__name__)

RECORD = "slide.json"
"""Lies in every folder of results."""

PLAIN_SUFFIXES = (".tif", ".tiff")
"""Of slides as of images: the file itself decides."""


def holds_slides(place: Path) -> bool:
    """Whether `place` is a slide, or a folder (a dataset, too) with a slide in it; `image/` means
    patches.
    """
    if place.is_file():
        return place.suffix.lower() in SLIDE_SUFFIXES
    if (place / "image").is_dir():
        return False
    return any(_is_slide(path) for path in list_files(_image_folder(place)))


def find_images(folder: Path) -> list[Patch]:
    """Images of `folder/image` or, if there is no such folder, of `folder` itself; truth from
    `folder/mask`.

    Raises DatasetError if there is none.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; set TEST_DATASET_DIR or --test_dataset_dir")
    images = folder / "image" if (folder / "image").is_dir() else folder
    patches = list_patches(images, folder / "mask")
    if not patches:
        raise DatasetError(f"{images}: no .png, .jpg or .tif image in it; check the folder")
    log.info(
        "%s: %d images, %d with truth",
        images,
        len(patches),
        sum(image.mask is not None for image in patches),
    )
    return patches


def find_slides(place: Path) -> list[SlideRecord]:
    """The slides of a folder and those below it, or the one slide; results of an earlier run are
    none.

    Outlines come from `annotations/` in the folder or beside it. A record is USED if its truth is
    known: by outlines, or by a name or a label that says there is no tumour. Raises DatasetError if
    there is no slide.
    """
    if place.is_file():
        records = [record for record in _stock(place.parent) if record.path == place]
        name = normalize_slide_name(place.stem)
        return records or [SlideRecord(name, place, None, status=UNUSED)]
    records = [
        record
        for record in _stock(place)
        if record.path and not (record.path.parent / RECORD).is_file()
    ]
    if not records:
        raise DatasetError(f"{place}: no slide in it; check the folder")
    log.info(
        "%s: %d slides, %d with truth",
        place,
        len(records),
        sum(has_truth(record) for record in records),
    )
    return records


def has_truth(record: SlideRecord) -> bool:
    """Whether all tumour of the slide is known."""
    return record.status == USED and record.unannotated_is_normal


def _stock(folder: Path) -> list[SlideRecord]:
    images = _image_folder(folder)
    nearest = images / "annotations"
    annotations = nearest if nearest.is_dir() else images.parent / "annotations"
    table = annotations.parent / "splits.csv"
    labels = read_labels(table) if table.is_file() else {}
    records, ignored = discover_slides(images, annotations, labels)
    if ignored:
        log.info(
            "no slides: %s",
            ", ".join(f"{count} {suffix}" for suffix, count in sorted(ignored.items())),
        )
    known = [record for record in records if record.path]
    return known if annotations.is_dir() else [_unknown(record) for record in known]


def _unknown(record: SlideRecord) -> SlideRecord:
    return record if record.status == FAILED else record.mark_as(UNUSED, "")


def _image_folder(folder: Path) -> Path:
    return folder / "images" if (folder / "images").is_dir() else folder


def _is_slide(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in SLIDE_SUFFIXES and (suffix not in PLAIN_SUFFIXES or is_slide_tiff(path))
