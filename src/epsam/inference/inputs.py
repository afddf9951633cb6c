"""What is to be segmented: images or whole slides, with their ground truth where there is any."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from epsam.annotations.groups import BUILT_IN, GroupNames
from epsam.core.errors import DatasetError
from epsam.data.images import list_images
from epsam.data.patches import (
    LABEL_TABLE,
    Patch,
    ground_truth_folder,
    list_patches,
    list_split_patches,
)
from epsam.extraction.discovery import (
    FAILED,
    INCLUDED,
    UNUSED,
    SlideRecord,
    discover_slides,
    list_files,
)
from epsam.extraction.slide_labels import SlideLabel, load_slide_labels
from epsam.extraction.splits import normalize_slide_name
from epsam.inference.slide_store import RESULT_FILE
from epsam.wsi.reader import SLIDE_SUFFIXES, is_slide_file

log = logging.getLogger(__name__)

LABEL_TABLES = (LABEL_TABLE, "patches.csv")
"""Tables that a folder of a dataset has."""


def list_input_folders(path: Path) -> list[Path]:
    """What inference reads of `path`, with the folders in it that may be links to elsewhere."""
    folders = [path]
    for name in ("image", "mask", "images", "annotations"):
        if (path / name).is_dir():
            folders.append(path / name)
    return folders


def find_images(folder: Path, labels: str = "auto") -> list[Patch]:
    """Images of `folder/image` or, without such a folder, of `folder`, with those in folders below;
    masks of `folder/mask`.

    labels: `--labels`. With "auto", the name, folder or labels.csv of an image states a label only
    in a split of a dataset. Raises DatasetError if there is no folder or no image in it.
    """
    if folder.is_file():
        raise DatasetError(f"{folder}: is one image; give the folder that holds it")
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; set TEST_DATASET_DIR or --test_dataset_dir")
    image_folder = folder / "image" if (folder / "image").is_dir() else folder
    if labels == "names" or _is_split(folder):
        images = list_split_patches(folder, str(image_folder))
    else:
        images = []
        for image in list_patches(image_folder, ground_truth_folder(folder)):
            images.append(replace(image, label=None))
    if not images:
        raise DatasetError(
            f"{image_folder}: no .png, .jpg, .tif or .bmp image in it; check the folder"
        )

    with_mask = sum(image.mask is not None for image in images)
    log.info("%s: %d images, %d with ground truth", image_folder, len(images), with_mask)
    return images


def _is_split(folder: Path) -> bool:
    """Whether a folder of images is a split of a dataset, which states labels."""
    if (folder / "mask").is_dir() and ground_truth_folder(folder):
        return True
    # The tables of a dataset lie beside its splits.
    places = [folder, folder.parent] if (folder / "image").is_dir() else [folder]
    return any((place / name).is_file() for place in places for name in LABEL_TABLES)


def is_for_slides(path: Path, content: str) -> bool:
    """Whether `path` is segmented as slides; content: `--as`, "auto", "images" or "slides".

    With "auto", a warning names images that are left out beside slides.
    """
    if content != "auto":
        return content == "slides"
    if not contains_slides(path):
        return False
    images = [file for file in list_images(_slide_folder(path)) if not is_slide_file(file)]
    if images:
        log.warning(
            "%s: taken for slides, so that %d images in it are left out, such as %s; "
            "--as images segments all as images",
            path,
            len(images),
            images[0].name,
        )
    return True


def contains_slides(path: Path) -> bool:
    """Whether `path` is a slide, or a folder or dataset with a slide in it."""
    if path.is_file():
        return path.suffix.lower() in SLIDE_SUFFIXES
    # A dataset of patches keeps them in image/, one of slides has images/.
    if (path / "image").is_dir():
        return False
    return any(is_slide_file(file) for file in list_files(_slide_folder(path)))


def find_slides(
    path: Path,
    rules: Sequence[tuple[str, SlideLabel]] = (),
    groups: GroupNames = BUILT_IN,
) -> list[SlideRecord]:
    """The slides of a folder and those below it, or the slide that `path` is.

    Annotations come from `annotations/` in the folder of the slides or beside it. A record is
    INCLUDED if its ground truth is known: by annotations, whose `groups` are named, or by a table
    or one of the dataset's `rules` that says "normal". Raises DatasetError if there is no slide.
    """
    if path.is_file():
        for record in _discover(path.parent, rules, groups):
            if record.path == path:
                return [record]
        return [SlideRecord(normalize_slide_name(path.stem), path, None, status=UNUSED)]

    # probability.tif and mask.tif of an earlier run, in the same folder, are slides by their form.
    records = [record for record in _discover(path, rules, groups) if not _is_result(record)]
    if not records:
        raise DatasetError(f"{path}: no slide in it; check the folder")
    with_ground_truth = sum(has_ground_truth(record) for record in records)
    log.info("%s: %d slides, %d with ground truth", path, len(records), with_ground_truth)
    return records


def has_ground_truth(record: SlideRecord) -> bool:
    """Whether all tumour of the slide is known."""
    return record.status == INCLUDED and record.unannotated_is_normal


def _discover(
    folder: Path, rules: Sequence[tuple[str, SlideLabel]], groups: GroupNames
) -> list[SlideRecord]:
    slide_folder = _slide_folder(folder)
    annotation_folder = slide_folder / "annotations"
    if not annotation_folder.is_dir():
        annotation_folder = slide_folder.parent / "annotations"
    labels = load_slide_labels(annotation_folder.parent, rules)
    records, ignored = discover_slides(slide_folder, annotation_folder, labels, groups)
    if ignored:
        suffixes = [f"{count} {suffix}" for suffix, count in sorted(ignored.items())]
        log.info("no slides: %s", ", ".join(suffixes))

    slides = []
    for record in records:
        # Annotations without a slide have a record, too.
        if record.path is None:
            continue
        # A name such as normal_001 is trusted only in a dataset, where annotations are kept.
        if not annotation_folder.is_dir() and record.status != FAILED:
            record = record.mark_as(UNUSED, "")
        slides.append(record)
    return slides


def _slide_folder(folder: Path) -> Path:
    return folder / "images" if (folder / "images").is_dir() else folder


def _is_result(record: SlideRecord) -> bool:
    return record.path is not None and (record.path.parent / RESULT_FILE).is_file()
