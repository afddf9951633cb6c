"""Where BraTS 2019, AbdomenCT-1K and MSD Heart keep volumes and labels, and how grey they are.

The layouts are those that the sets' pages describe; they were tried on made-up files alone.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from epsam.config.volumes import ORGANS
from epsam.core.errors import DatasetError

Volume = npt.NDArray[np.float32]
"""(x, y, slices)."""

CT_WINDOW_HU = (-160.0, 240.0)
"""This project: soft tissue of the abdomen."""
MR_PERCENTILES = (1.0, 99.0)
"""This project: what lies beyond them is as dark, or as bright, as they are."""


@dataclass(frozen=True)
class CaseFiles:
    """A case: its volume and the labels of its voxels."""

    case: str
    volume: Path
    labels: Path


@dataclass(frozen=True)
class VolumeLayout:
    """How a set's files are listed and read.

    list_files: folder → its cases. scale: voxels → grey, 0..1. targets: labels that are the
    target; empty: all above 0.
    """

    list_files: Callable[[Path], list[CaseFiles]]
    scale: Callable[[Volume], Volume]
    targets: tuple[int, ...] = ()


def select_layout(name: str, organ: str) -> VolumeLayout:
    """The layout of a set; organ: that of AbdomenCT-1K."""
    if name == "brats2019":
        return VolumeLayout(_list_brats, scale_to_range)
    if name == "abdomenct1k":
        return VolumeLayout(_list_abdomen, scale_window, (ORGANS.index(organ) + 1,))
    return VolumeLayout(_list_heart, scale_percentiles, (1,))


def list_cases(layout: VolumeLayout, source: Path) -> list[CaseFiles]:
    """The cases of a folder, sorted by name.

    Raises DatasetError if there are none, if a volume lacks its labels, or if a case is there
    twice.
    """
    cases = sorted(layout.list_files(source), key=lambda files: files.case)
    if not cases:
        raise DatasetError(
            f"{source}: no volumes of this layout below it; correct --source or --layout"
        )
    for files in cases:
        if not files.labels.is_file():
            raise DatasetError(
                f"{files.volume}: its labels {files.labels.name} are missing; unpack them, or "
                "remove the volume"
            )
    for first, second in itertools.pairwise(cases):
        if first.case == second.case:
            raise DatasetError(
                f"{first.volume} and {second.volume}: both are of case {first.case}; remove one"
            )
    return cases


def scale_to_range(volume: Volume) -> Volume:
    """From the volume's lowest voxel to its highest; 0 if all are the same."""
    return _scale(volume, float(volume.min()), float(volume.max()))


def scale_percentiles(volume: Volume) -> Volume:
    """From the 1st percentile of the voxels to the 99th."""
    low, high = np.percentile(volume, MR_PERCENTILES)
    return _scale(volume, float(low), float(high))


def scale_window(volume: Volume) -> Volume:
    """Hounsfield units of soft tissue."""
    return _scale(volume, *CT_WINDOW_HU)


def _scale(volume: Volume, low: float, high: float) -> Volume:
    if high <= low:
        return np.zeros_like(volume)
    scaled: Volume = np.clip((volume - low) / (high - low), 0, 1)
    return scaled


def _list_brats(source: Path) -> list[CaseFiles]:
    """`…/<case>/<case>_flair.nii.gz` beside `<case>_seg.nii.gz`."""
    cases = []
    for volume in _search(source, "*_flair.nii*"):
        case, _, suffix = volume.name.partition("_flair")
        cases.append(CaseFiles(case, volume, volume.with_name(f"{case}_seg{suffix}")))
    return cases


def _list_abdomen(source: Path) -> list[CaseFiles]:
    """`…/Case_00001_0000.nii.gz`, and `Case_00001.nii.gz` in a folder that may be another one."""
    labels = {}
    for path in _search(source, "Case_*.nii*"):
        if re.fullmatch(r"Case_\d+\.nii(\.gz)?", path.name):
            labels[path.name.partition(".")[0]] = path
    cases = []
    for volume in _search(source, "Case_*_0000.nii*"):
        # From the right: case 1 is called Case_00001.
        case, _, suffix = volume.name.rpartition("_0000")
        beside = volume.with_name(case + suffix)
        cases.append(CaseFiles(case, volume, labels.get(case, beside)))
    return cases


def _list_heart(source: Path) -> list[CaseFiles]:
    """`…/imagesTr/la_003.nii.gz` and `labelsTr/la_003.nii.gz`."""
    cases = []
    for volume in _search(source, "la_*.nii*"):
        if volume.parent.name == "imagesTr":
            labels = volume.parent.with_name("labelsTr") / volume.name
            cases.append(CaseFiles(volume.name.partition(".")[0], volume, labels))
    return cases


def _search(source: Path, pattern: str) -> Iterator[Path]:
    """The files below a folder by name, but for hidden ones, which archives of macOS bring."""
    for path in sorted(source.rglob(pattern)):
        if not path.name.startswith(".") and path.is_file():
            yield path
