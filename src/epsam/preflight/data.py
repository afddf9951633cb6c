"""Do slides, annotations, splits and patches fit together?"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from epsam.config.common import SPLITS
from epsam.config.masks import MaskOptions
from epsam.config.patches import PatchOptions
from epsam.core.errors import DatasetError, EpsamError
from epsam.core.files import read_table
from epsam.data.images import list_images_below, read_image_size
from epsam.data.patches import (
    Patch,
    list_labelled_patches,
    read_patch_size,
    require_both_classes,
    select_positives,
)
from epsam.evaluation.threshold_search import require_grid, require_ground_truth
from epsam.extraction.candidates import (
    level0_px_per_patch_px,
    load_annotations,
    require_slide_path,
)
from epsam.extraction.dataset_slides import load_slides
from epsam.extraction.discovery import FAILED, INCLUDED, UNUSED, SlideRecord
from epsam.extraction.patch_store import describe_changes, find_removed_slides
from epsam.extraction.resolutions import REFUSE_RATIO, WARN_RATIO, describe_mixture
from epsam.extraction.slide_labels import NORMAL
from epsam.paths import DatasetPaths
from epsam.preflight.finding import Finding, note, problem, warning
from epsam.wsi.reader import open_slide

MAX_SECONDS = 20.0
"""This project: how long slides are opened, one after another; extraction checks the rest."""

N_EXAMPLES = 5


def will_reuse_patches(paths: DatasetPaths, tables: Path, options: PatchOptions) -> bool:
    """Whether training starts from the patches on disk; otherwise step 1 extracts new ones."""
    if options.restart or not list_images_below(paths.split("train") / "image"):
        return False
    try:
        # Without its slides a patch cannot be extracted again, so step 1 leaves them all.
        return bool(find_removed_slides(paths)) or not describe_changes(paths, tables, options)
    except EpsamError:
        # Step 1 will meet it, too; `check_slides` reports it.
        return False


def count_patches(paths: DatasetPaths, split: str) -> tuple[int, int]:
    """Numbers of positive and negative patches of a split."""
    try:
        labels = [patch.label for patch in list_labelled_patches(paths.split(split))]
    except DatasetError:
        # `check_patches` reports it.
        return 0, 0
    return labels.count(1), labels.count(0)


def check_patches(paths: DatasetPaths, split: str, image_dir: str) -> Iterator[Finding]:
    """Patches of a split have labels, both classes, one square size, and masks that fit.

    `image_dir` replaces the split's own folder of images if it is not empty. Raises DatasetError as
    the stages would.
    """
    split_folder = paths.split(split)
    mask_dir = split_folder / "mask"
    patches = list_labelled_patches(split_folder, image_dir)
    # Nothing is learnt from the test split, so one class is enough there.
    if split != "test":
        require_both_classes(patches, split_folder)
    if patches:
        yield from _check_sizes(patches, read_patch_size(patches))

    masks = {patch.mask for patch in patches}
    orphans = [path.name for path in list_images_below(mask_dir) if path not in masks]
    if orphans:
        yield warning(
            f"{mask_dir}: {len(orphans)} masks have no image of the same name, such as "
            f"{_format_names(orphans)}"
        )
    # Training needs no masks: it is weakly supervised.
    if split == "train":
        return
    unmasked = [patch.name for patch in patches if patch.label and patch.mask is None]
    if unmasked:
        effect = "the best epoch cannot be told by Dice"
        if split == "test":
            effect = "they are not scored"
        yield warning(
            f"{mask_dir}: {len(unmasked)} tumour patches have no mask, such as "
            f"{_format_names(unmasked)}: {effect}"
        )


def _check_sizes(patches: Sequence[Patch], side: int) -> Iterator[Finding]:
    """Images are `side` × `side` px, and masks are as large as their images.

    One finding for each kind of file, with the first wrong one as the example.
    """
    # From the headers alone: a split has thousands of patches, and the stages read their pixels.
    # A format whose header is unknown has no size and is left to them.
    n_masks = 0
    wrong_images, wrong_masks = [], []
    for patch in patches:
        image_size = read_image_size(patch.image)
        if image_size and image_size != (side, side):
            wrong_images.append((patch.image, image_size))
        if not patch.mask:
            continue
        n_masks += 1
        mask_size = read_image_size(patch.mask)
        if mask_size and image_size and mask_size != image_size:
            wrong_masks.append((patch.mask, mask_size, image_size))

    if wrong_images:
        path, size = wrong_images[0]
        yield problem(
            f"{path}: {_format_size(size)}, the first image has {_format_size((side, side))}; "
            f"{len(wrong_images)} of {len(patches)} images are of a wrong size: resize or remove "
            "them"
        )
    if wrong_masks:
        path, size, expected = wrong_masks[0]
        yield problem(
            f"{path}: {_format_size(size)}, the image has {_format_size(expected)}; "
            f"{len(wrong_masks)} of {n_masks} masks are of a wrong size: resize or remove them"
        )


def check_training_masks(paths: DatasetPaths) -> Iterator[Finding]:
    """A method that learns from ground truth has some, to train and to choose the epoch by."""
    for split in ("train", "val"):
        patches = select_positives(list_labelled_patches(paths.split(split)))
        if not any(patch.mask for patch in patches):
            yield problem(
                f"{paths.split(split) / 'mask'}: no mask of a tumour patch, and the method learns "
                "from masks; add masks of the images' names, or take a METHOD that needs none, "
                "such as ep_sam"
            )


def check_grid_search(
    paths: DatasetPaths, reuses_patches: bool, options: MaskOptions
) -> Iterator[Finding]:
    """--grid_search has values to search, and ground truth among patches that are reused.

    Raises DatasetError otherwise, and yields nothing.
    """
    if options.grid_search:
        require_grid(options)
        # Patches that are still to be extracted get their masks then.
        if reuses_patches:
            require_ground_truth(select_positives(list_labelled_patches(paths.split("val"))))
    yield from ()


def check_slides(paths: DatasetPaths, tables: Path, options: PatchOptions) -> Iterator[Finding]:
    """Slides have annotations and a split, every split has slides, and the files can be opened."""
    records = load_slides(paths, tables, options).records
    slides_by_reason: dict[str, list[str]] = {}
    for record in records:
        if record.status in (FAILED, UNUSED):
            slides_by_reason.setdefault(record.reason, []).append(record.name)
    for reason, slides in slides_by_reason.items():
        yield warning(f"{len(slides)} slides are left out ({_format_names(slides)}): {reason}")

    included = [record for record in records if record.status == INCLUDED]
    yield from _list_labels(included)
    used_splits = {record.split for record in included}
    for split in SPLITS:
        if split not in used_splits:
            yield problem(
                f"{split}: no slide; add slides or say in {paths.split_table} (columns "
                "slide,split) which is where"
            )
    yield from _check_slide_files(included, options)


def _list_labels(records: Sequence[SlideRecord]) -> Iterator[Finding]:
    """How many slides are taken for normal or for partly annotated, and who says so."""
    slides_by_label: dict[tuple[str, str], list[str]] = {}
    for record in records:
        if record.label.label:
            key = (record.label.label, record.label.reason)
            slides_by_label.setdefault(key, []).append(record.name)
    for (label, reason), slides in slides_by_label.items():
        effect = "give negatives" if label == NORMAL else "give no negatives"
        yield note(
            f"{len(slides)} slides are taken for {label} and {effect} ({_format_names(slides)}): "
            f"{reason}"
        )
    n_annotated = sum(not record.label.label for record in records)
    if n_annotated:
        yield note(
            f"{n_annotated} slides give negatives wherever no tumour is outlined, as all of their "
            "tumour is taken to be"
        )


def _check_slide_files(
    records: Sequence[SlideRecord], options: PatchOptions, max_seconds: float = MAX_SECONDS
) -> Iterator[Finding]:
    """Open slides and annotations until the time is up."""
    started = time.monotonic()
    n_failed = 0
    sizes_um: list[float] = []
    for number, record in enumerate(records):
        if time.monotonic() - started > max_seconds:
            yield warning(
                f"{number} of {len(records)} slides were opened in {max_seconds:.0f} s, "
                f"{number - n_failed} of them without error; the rest is checked when patches are "
                "extracted"
            )
            break
        error = _try_to_open(record, options, sizes_um)
        if not error:
            continue
        n_failed += 1
        if options.strict:
            yield problem(error)
        else:
            yield warning(f"{error}; the slide will be left out")
    if records and n_failed == len(records):
        yield problem(f"none of the {n_failed} slides can be used")
    yield from check_resolutions(sizes_um, "slides")


def check_resolutions(sizes_um: Sequence[float], kind: str) -> Iterator[Finding]:
    """Slides or patches, of these pixel sizes, are of one magnification."""
    ratio, counts = describe_mixture(sizes_um)
    message = f"{kind} of different pixel size: {counts}; give --mpp, at which patches are made"
    if ratio >= REFUSE_RATIO:
        yield problem(message)
    elif ratio >= WARN_RATIO:
        yield warning(message)


def check_patch_resolutions(paths: DatasetPaths) -> Iterator[Finding]:
    """Patches that patches.csv states a pixel size of are of one magnification."""
    if not paths.patch_table.is_file():
        return
    sizes_um = []
    for row in read_table(paths.patch_table, ("id",)):
        try:
            sizes_um.append(float(row.get("mpp") or "nan"))
        except ValueError:
            continue
    yield from check_resolutions([size for size in sizes_um if size > 0], "patches")


def _try_to_open(record: SlideRecord, options: PatchOptions, sizes_um: list[float]) -> str:
    """The error of a slide that cannot be opened; empty if it can, and `sizes_um` gets its pixel
    size at which patches are made, if it is stated.
    """
    try:
        load_annotations(record)
        with open_slide(require_slide_path(record), options.slide_mpp) as slide:
            level0_px_per_patch_px(slide, options.mpp)
            if options.mpp or slide.mpp:
                sizes_um.append(options.mpp or slide.mpp or 0.0)
    except EpsamError as error:
        return str(error)
    return ""


def _format_size(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]} px"


def _format_names(names: Sequence[str]) -> str:
    return ", ".join(names[:N_EXAMPLES]) + (" …" if len(names) > N_EXAMPLES else "")
