"""Volumes → axial slices of a data set: grey as RGB, masks of the target."""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from epsam.config.common import SPLITS
from epsam.core.errors import DatasetError
from epsam.core.files import write_table
from epsam.core.progress import track
from epsam.data.images import Mask, Rgb, is_black, resize_mask, resize_rgb, write_mask, write_rgb
from epsam.tables import BROUGHT_PATCH_COLUMNS
from epsam.volumes.layouts import CaseFiles, Volume, VolumeLayout

Value = TypeVar("Value", bound=np.generic)


class Slice(NamedTuple):
    """An axial slice: its number in the volume, its grey values as RGB, and the target."""

    number: int
    image: Rgb
    mask: Mask


def read_volume(path: Path) -> Volume:
    """The voxels of a NIfTI file, float32: x to the right, y to the front, slices upwards.

    Raises DatasetError if it cannot be read, has not three axes, or holds NaN or infinity.
    """
    try:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
    except ImportError as error:
        raise DatasetError(
            "package nibabel is not installed, which reads volumes; run: pip install nibabel"
        ) from error
    try:
        # Files store the axes in any order and direction, and say which.
        image = nibabel.as_closest_canonical(nibabel.load(path))
        volume = np.asarray(image.dataobj, dtype=np.float32)
    except (ImageFileError, OSError, EOFError, ValueError) as error:
        raise DatasetError(f"{path}: no readable NIfTI volume ({error}); get it again") from error
    if volume.ndim != 3:
        raise DatasetError(f"{path}: {volume.ndim} axes, expected 3; give one volume a file")
    n_bad = int(np.count_nonzero(~np.isfinite(volume)))
    if n_bad:
        raise DatasetError(
            f"{path}: {n_bad} voxels are NaN or infinite; mend the volume, or remove the case"
        )
    return volume


def cut_slices(files: CaseFiles, layout: VolumeLayout, size: int, every: int) -> Iterator[Slice]:
    """A case's axial slices, size × size px, without those that are black.

    Raises DatasetError if volume and labels are of other shapes.
    """
    volume, labels = read_volume(files.volume), read_volume(files.labels)
    if volume.shape != labels.shape:
        raise DatasetError(
            f"{files.labels}: of {_format_shape(labels)} voxels, the volume of "
            f"{_format_shape(volume)}; give the labels of this volume"
        )
    grey = np.round(layout.scale(volume) * 255).astype(np.uint8)
    target = np.isin(labels, layout.targets) if layout.targets else labels > 0
    for number in range(0, volume.shape[2], every):
        image = _pad_to_square(_view_axial(grey[:, :, number]))
        mask = _pad_to_square(_view_axial(target[:, :, number]))
        rgb = resize_rgb(np.repeat(image[..., None], 3, axis=2), size, size)
        # Beyond the body there is nothing to learn from, and networks call black anything.
        if not is_black(rgb):
            yield Slice(number, rgb, resize_mask(mask, size, size))


def write_slices(
    cases: Sequence[CaseFiles],
    layout: VolumeLayout,
    splits: Mapping[str, str],
    target: Path,
    size: int,
    every: int,
) -> Counter[tuple[str, int]]:
    """Write the slices of all cases and `patches.csv`; return their counts by split and label.

    Slices of before stay until all new ones are written. Raises DatasetError if a split has slices
    of one label alone.
    """
    staging = target / ".part"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        rows = _write_cases(cases, layout, splits, staging, size, every)
        counts = Counter((row["split"], int(row["label"])) for row in rows)
        _require_both_labels(counts, target)
        # The table last: without it the slices are of no case.
        (target / "patches.csv").unlink(missing_ok=True)
        for split in SPLITS:
            shutil.rmtree(target / split, ignore_errors=True)
            (staging / split).replace(target / split)
        write_table(target / "patches.csv", BROUGHT_PATCH_COLUMNS, rows)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return counts


def _write_cases(
    cases: Sequence[CaseFiles],
    layout: VolumeLayout,
    splits: Mapping[str, str],
    folder: Path,
    size: int,
    every: int,
) -> list[dict[str, str]]:
    """Write image and mask of every slice; return the rows of patches.csv."""
    rows = []
    for files in track(cases, "volumes", len(cases), unit="volume"):
        split = splits[files.case]
        for piece in cut_slices(files, layout, size, every):
            name, label = f"{files.case}-{piece.number:03d}", int(piece.mask.any())
            file_name = f"{name}_{label}.png"
            if label:
                write_mask(folder / split / "mask" / file_name, piece.mask)
            write_rgb(folder / split / "image" / file_name, piece.image)
            rows.append({"id": name, "label": str(label), "case": files.case, "split": split})
    return rows


def _require_both_labels(counts: Mapping[tuple[str, int], int], target: Path) -> None:
    for split in SPLITS:
        for label, kind in ((1, "with"), (0, "without")):
            if not counts[split, label]:
                raise DatasetError(
                    f"{target / split}: would have no slice {kind} the target; add cases, or take "
                    "another --seed or --splits"
                )


def _view_axial(plane: npt.NDArray[Value]) -> npt.NDArray[Value]:
    """A plane (x to the right, y to the front) as radiologists look at it: the front on top, the
    patient's right on the left.
    """
    return np.ascontiguousarray(plane[::-1, ::-1].T)


def _pad_to_square(image: npt.NDArray[Value]) -> npt.NDArray[Value]:
    """The image in the middle of a square of its longer side, beside zeros."""
    height, width = image.shape
    side = max(height, width)
    above, left = (side - height) // 2, (side - width) // 2
    return np.pad(image, ((above, side - height - above), (left, side - width - left)))


def _format_shape(volume: Volume) -> str:
    return "×".join(str(length) for length in volume.shape)
