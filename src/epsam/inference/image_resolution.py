"""Have images the resolution of the patches that a run was trained with?"""

import logging
from collections.abc import Sequence
from pathlib import Path

from epsam.core.errors import DatasetError
from epsam.data.patches import Patch, load_mpp_by_name
from epsam.extraction.resolutions import REFUSE_RATIO, WARN_RATIO, describe_mixture
from epsam.wsi.tiff import read_pixel_size

log = logging.getLogger(__name__)

TIFF_SUFFIXES = (".tif", ".tiff")
PATCH_TABLE = "patches.csv"


def check_image_resolution(
    images: Sequence[Patch], folder: Path, mpp: float, trained_mpp: float | None
) -> None:
    """Compare the pixel sizes, µm, that images state with that of training; most state none.

    folder: that of the images, or of a dataset's split. mpp: `--mpp`, which stands for what all of
    them state; 0: not set. Logs a warning where sizes differ by a tenth. Raises DatasetError where
    they differ by half: a network takes another magnification for another tissue.
    """
    if not trained_mpp:
        return
    sizes = [mpp] * len(images) if mpp else _stated_sizes(images, folder)

    wrong: list[tuple[Patch, float]] = []
    other: list[tuple[Patch, float]] = []
    for image, size in zip(images, sizes, strict=True):
        ratio, _ = describe_mixture([size or trained_mpp, trained_mpp])
        if ratio >= REFUSE_RATIO:
            wrong.append((image, size))
        elif ratio >= WARN_RATIO:
            other.append((image, size))

    if wrong:
        raise DatasetError(
            f"{_describe(wrong, images, trained_mpp)}; resample them, or give the right size by "
            "--mpp if the files are mistaken"
        )
    if other:
        log.warning("%s", _describe(other, images, trained_mpp))


def _stated_sizes(images: Sequence[Patch], folder: Path) -> list[float]:
    """The pixel size of each image by patches.csv, else by its own file; 0 where neither says."""
    by_name: dict[str, float] = {}
    # The table of a dataset lies beside its splits.
    for place in (folder.parent, folder) if (folder / "image").is_dir() else (folder,):
        by_name |= load_mpp_by_name(place / PATCH_TABLE)

    sizes = []
    for image in images:
        size = by_name.get(image.name, 0.0)
        if not size and image.image.suffix.lower() in TIFF_SUFFIXES:
            size = read_pixel_size(image.image) or 0.0
        sizes.append(size)
    return sizes


def _describe(
    differing: Sequence[tuple[Patch, float]], images: Sequence[Patch], trained_mpp: float
) -> str:
    image, size = differing[0]
    return (
        f"{image.image}: {size:g} µm/px, the run was trained at {trained_mpp:g}; "
        f"{len(differing)} of {len(images)} images differ like this"
    )
