"""The patches of a split: `image/<id>_<label>.png` beside `mask/<id>_1.png`, as design 1.3 lays
them out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from epsam.core.errors import DatasetError
from epsam.core.files import read_numbers
from epsam.data.images import Mask, Rgb, list_images, read_mask, read_rgb

_LABEL = re.compile(r"_([01])$")


@dataclass(frozen=True)
class Patch:
    """One image file: `name` is its stem, `label` 1 = tumour, 0 = none, None = not told; `mask` its
    truth, if any.
    """

    name: str
    label: int | None
    image: Path
    mask: Path | None

    def read(self) -> Rgb:
        """The patch as RGB uint8."""
        return read_rgb(self.image)

    def ground_truth(self) -> Mask:
        """The true mask in the patch's frame.

        Raises DatasetError if there is none or if its size is not the image's.
        """
        if self.mask is None:
            raise DatasetError(
                f"{self.image}: no truth mask beside it; put one into mask/ under the same name"
            )
        mask, shape = read_mask(self.mask), self.read().shape[:2]
        if mask.shape != shape:
            raise DatasetError(
                f"{self.mask}: mask of {_size(mask.shape)} for an image of {_size(shape)}; resize it"
            )
        return mask


def label_from_name(stem: str) -> int | None:
    """The label that ends a file's stem (`…_0`, `…_1`), or None."""
    found = _LABEL.search(stem)
    return int(found.group(1)) if found else None


def list_patches(image_dir: Path, mask_dir: Path) -> list[Patch]:
    """Patches of a folder, sorted by name, with the masks of the same stem; an absent folder is an
    empty list.

    Raises DatasetError if two files share a stem, since every output is named after it.
    """
    masks = {path.stem: path for path in list_images(mask_dir)}
    images = list_images(image_dir)
    seen: dict[str, Path] = {}
    for path in images:
        if path.stem in seen:
            raise DatasetError(
                f"{image_dir}: {seen[path.stem].name} and {path.name} share a name; rename one"
            )
        seen[path.stem] = path
    return [
        Patch(path.stem, label_from_name(path.stem), path, masks.get(path.stem)) for path in images
    ]


def list_labelled_patches(split_dir: Path, image_dir: str = "") -> list[Patch]:
    """Patches of a split that is to be learnt from or scored.

    Raises DatasetError if a name does not end in a label.
    """
    patches = list_patches(
        Path(image_dir) if image_dir else split_dir / "image", split_dir / "mask"
    )
    unnamed = [patch.image.name for patch in patches if patch.label is None]
    if unnamed:
        raise DatasetError(
            f"{split_dir}: {len(unnamed)} of {len(patches)} names have no label, such as {unnamed[0]}; "
            "end them in _1 (tumour) or _0 (none)"
        )
    return patches


def select_positives(patches: Sequence[Patch]) -> list[Patch]:
    """The patches with tumour, the only ones that are segmented and scored (methods D38)."""
    return [patch for patch in patches if patch.label == 1]


def require_both_classes(patches: Sequence[Patch], where: Path) -> None:
    """Raise DatasetError unless there are positives and negatives."""
    tumour = len(select_positives(patches))
    normal = len(patches) - tumour
    if not tumour or not normal:
        raise DatasetError(
            f"{where}: {tumour} positives and {normal} negatives found; the classifier needs both "
            "(image/<id>_1.png and image/<id>_0.png)"
        )


def read_patch_size(patches: Sequence[Patch]) -> int:
    """The side in px that all patches share, judged by the first of them.

    Raises DatasetError if there is no patch or the first is not square; the others are checked when
    they are read.
    """
    if not patches:
        raise DatasetError("no patches with tumour found; check image/ of the split")
    height, width = (int(side) for side in patches[0].read().shape[:2])
    if height != width:
        raise DatasetError(
            f"{patches[0].image}: {_size((height, width))} px; training needs squares of one size"
        )
    return height


def load_median_mpp(patches: Sequence[Patch], table: Path) -> float | None:
    """Pixel size of the patches as patches.csv tells it, µm: the median, since scanners differ a
    little.

    None where the table is absent or tells none of these patches, as with patches that the user
    brought.
    """
    if not table.is_file():
        return None
    rows = read_numbers(
        table, ("id", "label", "mpp"), {"mpp": lambda text: float(text or 0)}, "leave it empty"
    )
    told = {f"{row['id']}_{row['label']}": row["mpp"] for row in rows}
    sizes = [float(told[patch.name]) for patch in patches if told.get(patch.name)]
    return median(sizes) if sizes else None


def read_square(patch: Patch, size: int) -> Rgb:
    """The patch, which has to be size × size px.

    Raises DatasetError otherwise.
    """
    image = patch.read()
    if image.shape[:2] != (size, size):
        raise DatasetError(
            f"{patch.image}: {_size(image.shape[:2])} px among patches of {size}×{size}; resize it"
        )
    return image


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(str(side) for side in reversed(shape))
