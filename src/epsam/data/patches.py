"""The patches of a split: `image/<id>_<label>.png` with the ground truth in `mask/<id>_1.png`
(dataset/README.md).
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from epsam.core.errors import DatasetError
from epsam.core.files import read_numbers, read_table
from epsam.core.output_folders import INFERENCE, is_output_of
from epsam.data.images import (
    Mask,
    Rgb,
    apply_exif_turn,
    list_images_below,
    read_mask,
    read_orientation,
    read_rgb,
)

LABEL_TABLE = "labels.csv"
"""In the folder of a split: columns image (with or without suffix) and label."""
NO_IMAGES = ("mask", "overlay")
"""Folders beside images that hold ground truth or earlier results."""
CLASS_NAMES = {"0": 0, "normal": 0, "negative": 0, "1": 1, "tumour": 1, "tumor": 1, "positive": 1}
"""Names of folders, and values in labels.csv, that say a label (this project)."""

log = logging.getLogger(__name__)

_LABEL_SUFFIX = re.compile(r"_([01])$")


@dataclass(frozen=True)
class Patch:
    """One image file.

    name: the file's stem, after the names of folders below that of the images. label: 1 with
    tumour, 0 without, None where nothing states one.
    mask: the file of its ground truth, if there is one.
    """

    name: str
    label: int | None
    image: Path
    mask: Path | None

    @property
    def file_name(self) -> str:
        """The name with the file's suffix, as in tables of results: unique also where files of
        several folders share a name.
        """
        return f"{self.name}{self.image.suffix}"

    def read(self) -> Rgb:
        """The patch as RGB uint8 (height, width, 3)."""
        return read_rgb(self.image)

    def ground_truth(self) -> Mask:
        """The ground-truth mask, bool (height, width), in the patch's frame.

        Raises DatasetError if there is none or its size is not the image's.
        """
        if self.mask is None:
            raise DatasetError(
                f"{self.image}: no ground-truth mask beside it; "
                "put one into mask/ under the same name"
            )
        mask = self._turn_as_image(read_mask(self.mask))
        shape = self.read().shape[:2]
        if mask.shape != shape:
            raise DatasetError(
                f"{self.mask}: mask of {_format_size(mask.shape)} for an image of "
                f"{_format_size(shape)}; resize it"
            )
        return mask

    def _turn_as_image(self, mask: Mask) -> Mask:
        """The mask after the turn that EXIF states for the image alone.

        A mask from a program that does not know of EXIF lies as the pixels are stored.
        """
        orientation = read_orientation(self.image)
        if orientation == 1 or self.mask is None or read_orientation(self.mask) != 1:
            return mask
        # A mask that was drawn on the turned image has its shape.
        if orientation >= 5 and mask.shape == self.read().shape[:2] != mask.T.shape:
            return mask
        return apply_exif_turn(mask, orientation)


def label_from_name(stem: str) -> int | None:
    """The label at the end of a file's stem (`…_0`, `…_1`), or None."""
    match = _LABEL_SUFFIX.search(stem)
    return int(match.group(1)) if match else None


def ground_truth_folder(split_dir: Path) -> Path | None:
    """mask/ of a folder of patches; None where it holds predictions of infer.py."""
    mask_dir = split_dir / "mask"
    # A link may lead from here into a folder of results.
    for folder in (split_dir, mask_dir.resolve().parent):
        if is_output_of(INFERENCE, folder):
            log.warning("%s: holds predictions of infer.py, which are no ground truth", mask_dir)
            return None
    return mask_dir


def list_patches(image_dir: Path, mask_dir: Path | None) -> list[Patch]:
    """The patches of a folder and of those below it, sorted by path, labelled by the end of their
    names, each with the mask of the same name.

    mask_dir: None if there is no ground truth. An image in a folder below is named after both.
    Masks, overlays and folders of results of infer.py are left out. An absent folder gives an empty
    list. Raises DatasetError if two images share a name, since every output is named after it.
    """
    masks = _masks_by_name(mask_dir)
    patches = []
    for path in list_images_below(image_dir, skip=is_no_folder_of_images):
        name = join_name(path, image_dir)
        patches.append(Patch(name, label_from_name(name), path, masks.get(name)))
    _require_unique_names(patches, image_dir)
    return patches


def list_split_patches(split_dir: Path, image_dir: str = "") -> list[Patch]:
    """The patches of a split, with those in folders below; label None where nothing states one.

    image_dir: replaces `split_dir`/image where it is not empty. The label comes from
    `split_dir`/labels.csv (columns image, label), else from a folder such as 1 or tumour, else from
    the end of the name. A patch below another folder is named after both. Raises DatasetError if
    two patches share a name.
    """
    images = Path(image_dir) if image_dir else split_dir / "image"
    table = _read_label_table(split_dir / LABEL_TABLE)
    masks = _masks_by_name(ground_truth_folder(split_dir))
    patches = []
    for path in list_images_below(images, skip=is_no_folder_of_images):
        patches.append(_label_patch(path, images, table, masks))
    _require_unique_names(patches, images)
    return patches


def list_labelled_patches(split_dir: Path, image_dir: str = "") -> list[Patch]:
    """The patches of a split for training or scoring, as `list_split_patches` lists them.

    Raises DatasetError if a patch has no label, or if two share a name.
    """
    patches = list_split_patches(split_dir, image_dir)
    unlabelled = [patch.image.name for patch in patches if patch.label is None]
    if unlabelled:
        raise DatasetError(
            f"{split_dir}: {len(unlabelled)} of {len(patches)} names have no label, such as "
            f"{unlabelled[0]}; end them in _1 (tumour) or _0 (none), put them into folders 1 and "
            f"0, or list them in {LABEL_TABLE}"
        )
    return patches


def _masks_by_name(mask_dir: Path | None) -> dict[str, Path]:
    masks = {}
    if mask_dir:
        for path in list_images_below(mask_dir):
            masks[join_name(path, mask_dir)] = path
    return masks


def is_no_folder_of_images(folder: Path) -> bool:
    """Whether a folder holds something else by its name, or results of inference."""
    return folder.name in NO_IMAGES or is_output_of(INFERENCE, folder)


def _require_unique_names(patches: Sequence[Patch], image_dir: Path) -> None:
    """Raise DatasetError if two patches share a name."""
    by_name: dict[str, Patch] = {}
    for patch in patches:
        if patch.name in by_name:
            raise DatasetError(
                f"{image_dir}: {by_name[patch.name].image.name} and {patch.image.name} share a "
                "name; rename one"
            )
        by_name[patch.name] = patch


def _read_label_table(table: Path) -> dict[str, int]:
    """Image → label; empty without the table. Raises DatasetError on another label than 0 or 1."""
    if not table.is_file():
        return {}
    labels = {}
    for number, row in enumerate(read_table(table, ("image", "label")), start=2):
        label = CLASS_NAMES.get(row["label"].strip().lower())
        if label is None:
            raise DatasetError(
                f"{table} line {number}: label {row['label']!r}; write 1 (tumour) or 0 (none)"
            )
        labels[row["image"].strip()] = label
    return labels


def _label_patch(
    path: Path, folder: Path, table: Mapping[str, int], masks: Mapping[str, Path]
) -> Patch:
    relative = path.relative_to(folder)
    name = join_name(path, folder)
    label = table.get(relative.as_posix(), table.get(path.name, table.get(path.stem)))
    if label is None and len(relative.parts) > 1:
        label = CLASS_NAMES.get(relative.parts[0].lower())

    # Names end in their label everywhere, whatever says so: tables and results go by the name.
    labelled_name = name
    if label is not None and label_from_name(name) != label:
        labelled_name = f"{name}_{label}"
    mask = masks.get(labelled_name) or masks.get(name) or masks.get(path.stem)
    return Patch(labelled_name, label_from_name(labelled_name), path, mask)


def join_name(path: Path, folder: Path) -> str:
    """The stem of a file, after the names of the folders between it and `folder`."""
    return "-".join(path.relative_to(folder).with_suffix("").parts)


def select_positives(patches: Sequence[Patch]) -> list[Patch]:
    """The patches with tumour; only these are segmented and scored (docs/deviations.md, "Dice and
    IoU").
    """
    return [patch for patch in patches if patch.label == 1]


def require_both_classes(patches: Sequence[Patch], split_dir: Path) -> None:
    """Raise DatasetError unless there are positives and negatives."""
    n_positive = len(select_positives(patches))
    n_negative = len(patches) - n_positive
    if not n_positive or not n_negative:
        raise DatasetError(
            f"{split_dir}: {n_positive} positives and {n_negative} negatives found; "
            "the classifier needs both (image/<id>_1.png and image/<id>_0.png)"
        )


def read_patch_size(patches: Sequence[Patch]) -> int:
    """The side in px that all patches share, read from the first of them.

    Raises DatasetError if there is no patch or the first is not square. The other patches are
    checked when they are read.
    """
    if not patches:
        raise DatasetError("no patches with tumour found; check image/ of the split")
    height, width = patches[0].read().shape[:2]
    if height != width:
        raise DatasetError(
            f"{patches[0].image}: {_format_size((height, width))} px; "
            "training needs squares of one size"
        )
    return int(height)


def load_median_mpp(patches: Sequence[Patch], table: Path) -> float | None:
    """Pixel size of the patches in µm by patches.csv; the median, since scanners differ a little.

    None if the table is absent or states none for these patches, such as for a user's own patches.
    """
    mpp_by_name = load_mpp_by_name(table)
    sizes = [mpp_by_name[p.name] for p in patches if mpp_by_name.get(p.name)]
    return median(sizes) if sizes else None


def load_mpp_by_name(table: Path) -> dict[str, float]:
    """Pixel sizes of patches in µm by patches.csv, 0 where it states none; empty without it."""
    if not table.is_file():
        return {}
    # Patches that a user brought may have no column mpp.
    if not any("mpp" in row for row in read_table(table, ("id", "label"))):
        return {}
    rows = read_numbers(
        table, ("id", "label", "mpp"), {"mpp": lambda text: float(text or 0)}, "leave it empty"
    )
    return {f"{row['id']}_{row['label']}": float(row["mpp"] or 0) for row in rows}


def read_square(patch: Patch, size: int) -> Rgb:
    """The patch as RGB uint8 (size, size, 3).

    Raises DatasetError if it has another size.
    """
    image = patch.read()
    if image.shape[:2] != (size, size):
        raise DatasetError(
            f"{patch.image}: {_format_size(image.shape[:2])} px among patches of {size}×{size}; "
            "resize it"
        )
    return image


def _format_size(shape: tuple[int, ...]) -> str:
    """Width × height of an array's shape (height, width)."""
    return "×".join(str(side) for side in reversed(shape))
