"""Do slides, outlines, splits and patches fit together?"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from epsam.annotations.asap_reader import read_annotations
from epsam.config.common import SPLITS
from epsam.config.masks import MaskOptions
from epsam.config.patches import PatchOptions
from epsam.core.errors import EpsamError
from epsam.data.images import list_images, read_image_size
from epsam.data.patches import (
    Patch,
    label_from_name,
    list_labelled_patches,
    read_patch_size,
    require_both_classes,
    select_positives,
)
from epsam.evaluation.threshold_search import require_grid, require_ground_truth
from epsam.extraction.candidates import level0_px_per_patch_px, require_slide_path
from epsam.extraction.dataset_slides import load_slides
from epsam.extraction.discovery import FAILED, UNUSED, USED, SlideRecord
from epsam.extraction.patch_store import describe_changes, find_removed_slides
from epsam.paths import DatasetPaths
from epsam.preflight.finding import Finding, problem, warning
from epsam.wsi.reader import open_slide

SECONDS = 20.0
"""Ours: how long slides are opened one after the other before the rest is left to the stage that
cuts them.
"""
SHOWN = 5


def keeps_patches(paths: DatasetPaths, tables: Path, options: PatchOptions) -> bool:
    """Whether training starts from patches that are there, rather than from slides that are to be
    cut (again).
    """
    if options.restart or not list_images(paths.split("train") / "image"):
        return False
    try:
        return bool(find_removed_slides(paths)) or not describe_changes(paths, tables, options)
    except EpsamError:
        # Step 1 will meet it, too, so `check_slides` is to tell it.
        return False


def count_patches(paths: DatasetPaths, split: str) -> tuple[int, int]:
    """Numbers of (positives, negatives) of a split."""
    labels = [label_from_name(path.stem) for path in list_images(paths.split(split) / "image")]
    return labels.count(1), labels.count(0)


def check_patches(paths: DatasetPaths, split: str, image_dir: str) -> Iterator[Finding]:
    """Patches of a split that are there have labels, both classes and one square size, and masks
    belong to them.
    """
    patches, mask_dir = (
        list_labelled_patches(paths.split(split), image_dir),
        paths.split(split) / "mask",
    )
    if split != "test":
        require_both_classes(patches, paths.split(split))
    if patches:
        yield from _check_sizes(patches, read_patch_size(patches))
    names = {patch.name for patch in patches}
    lonely = [path.name for path in list_images(mask_dir) if path.stem not in names]
    if lonely:
        yield warning(
            f"{mask_dir}: {len(lonely)} masks have no image of the same name, such as {_some(lonely)}"
        )
    without = [patch.name for patch in patches if patch.label and patch.mask is None]
    if split != "train" and without:
        effect = (
            "the best epoch cannot be told by Dice" if split == "val" else "they are not scored"
        )
        yield warning(
            f"{mask_dir}: {len(without)} tumour patches have no mask, such as {_some(without)}: {effect}"
        )


def _check_sizes(patches: Sequence[Patch], side: int) -> Iterator[Finding]:
    """By the files' headers: a split has thousands of patches, and their pixels are read by the
    stages.
    """
    images = [(patch.image, read_image_size(patch.image), (side, side)) for patch in patches]
    masks = [
        (patch.mask, read_image_size(patch.mask), stated)
        for patch, (_, stated, _) in zip(patches, images, strict=True)
        if patch.mask
    ]
    for what, wanted_by, sizes in (
        ("images", "the first image", images),
        ("masks", "the image", masks),
    ):
        wrong = [
            (path, found, wanted)
            for path, found, wanted in sizes
            if found and wanted and found != wanted
        ]
        for path, found, wanted in wrong[:1]:
            yield problem(
                f"{path}: {_px(found)}, {wanted_by} has {_px(wanted)}; {len(wrong)} of {len(sizes)} {what} "
                "are of a wrong size: resize or remove them"
            )


def _px(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]} px"


def check_grid_search(
    paths: DatasetPaths, staying: bool, options: MaskOptions
) -> Iterator[Finding]:
    """--grid_search has something to search and, of patches that are there, true masks; else it
    raises its error.
    """
    if options.grid_search:
        require_grid(options)
        if staying:
            require_ground_truth(select_positives(list_labelled_patches(paths.split("val"))))
    yield from ()


def check_slides(paths: DatasetPaths, tables: Path, options: PatchOptions) -> Iterator[Finding]:
    """Slides have outlines and a split, every split has slides, and the files can be opened."""
    records = load_slides(paths, tables, options).records
    reasons: dict[str, list[str]] = {}
    for record in records:
        if record.status in (FAILED, UNUSED):
            reasons.setdefault(record.reason, []).append(record.name)
    for reason, names in reasons.items():
        yield warning(f"{len(names)} slides are left out ({_some(names)}): {reason}")
    used = [record for record in records if record.status == USED]
    for split in SPLITS:
        if not any(record.split == split for record in used):
            yield problem(
                f"{split}: no slide; add slides or say in {paths.split_table} (columns slide,split) "
                "which is where"
            )
    yield from _check_files(used, options)


def _check_files(
    used: Sequence[SlideRecord], options: PatchOptions, seconds: float = SECONDS
) -> Iterator[Finding]:
    """Open slides and outlines until the time is up."""
    began, failed = time.monotonic(), 0
    for number, record in enumerate(used):
        if time.monotonic() - began > seconds:
            yield warning(
                f"{number} of {len(used)} slides were opened in {seconds:.0f} s, without trouble in "
                f"{number - failed}; the others are looked at when they are cut"
            )
            return
        error = _error_of(record, options)
        if error:
            failed += 1
            yield (
                problem(error)
                if options.strict
                else warning(f"{error}; the slide will be left out")
            )
    if used and failed == len(used):
        yield problem(f"none of the {failed} slides can be used")


def _error_of(record: SlideRecord, options: PatchOptions) -> str:
    try:
        if record.annotations:
            read_annotations(record.annotations)
        with open_slide(require_slide_path(record), options.slide_mpp) as slide:
            level0_px_per_patch_px(slide, options.mpp)
    except EpsamError as error:
        return str(error)
    return ""


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
