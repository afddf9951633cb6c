"""Which corrections are of which training patch: by the patch's name, or by its slide and place."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from epsam.core.errors import DatasetError
from epsam.core.files import read_numbers
from epsam.corrections.reading import list_correction_files, read_corrections
from epsam.corrections.shapes import CorrectedShape, TrustedPixels, paint_shapes

log = logging.getLogger(__name__)

TRAIN = "train"


@dataclass(frozen=True)
class PatchPlace:
    """Where a patch lies in its slide: corner and side in level-0 pixels."""

    slide: str
    split: str
    left_px0: float
    top_px0: float
    side_px0: float


@dataclass
class CorrectedPatches:
    """The corrections of a dataset, read.

    pixels: of each corrected training patch by name. not_learnt: files of corrections in val and
    test, which are never learnt from. unmatched: files of no patch and no slide of the dataset.
    """

    pixels: dict[str, TrustedPixels] = field(default_factory=dict)
    not_learnt: list[Path] = field(default_factory=list)
    unmatched: list[Path] = field(default_factory=list)


def read_corrected_patches(
    folder: Path,
    names_by_split: Mapping[str, Sequence[str]],
    patch_table: Path,
    side: int,
) -> CorrectedPatches:
    """The trusted pixels (side, side) of the training patches that a person has corrected.

    names_by_split: names of the patches of train, val and test. patch_table: patches.csv, which
    tells where patches lie in their slides; it may be absent. A patch's own file goes before that
    of its slide. Raises DatasetError if there is no such folder or if a name is in several splits,
    AnnotationError if a file cannot be read.
    """
    splits_of = _splits_by_name(names_by_split)
    places = read_places(patch_table)
    slide_splits = _splits_by_name(_slides_by_split(places))
    result = CorrectedPatches()
    slides: dict[str, Path] = {}
    for name, path in list_correction_files(folder).items():
        split, patch = _find_patch(name, path, splits_of)
        if patch and split == TRAIN:
            pixels = paint_shapes(read_corrections(path), 0, 0, side, side)
            if pixels.reviewed.any():
                result.pixels[patch] = pixels
        elif name in slide_splits and TRAIN in slide_splits[name]:
            slides[name] = path
        elif patch or name in slide_splits:
            result.not_learnt.append(path)
        else:
            result.unmatched.append(path)
    train_names = [name for name in names_by_split.get(TRAIN, ()) if name not in result.pixels]
    _add_slides(result, slides, train_names, places, side)
    return result


def read_places(patch_table: Path) -> dict[str, PatchPlace]:
    """Where patches lie, by name, from patches.csv; empty if that states no slides."""
    columns = ("id", "label", "slide", "split", "x", "y", "size")
    if not patch_table.is_file():
        return {}
    try:
        numbers = {"x": float, "y": float, "size": float}
        rows = read_numbers(patch_table, columns, numbers, "extract the patches again")
    except DatasetError:
        # Patches that a user brought have no slides.
        return {}
    places = {}
    for row in rows:
        x, y, size = (float(row[column]) for column in ("x", "y", "size"))
        place = PatchPlace(row["slide"], row["split"], x, y, size)
        places[f"{row['id']}_{row['label']}"] = place
    return places


def name_in_corrections(name: str, split: str, splits: Iterable[str]) -> str:
    """The name of a patch's file of corrections, without suffix: below a folder of its split if
    patches of several splits have the name.
    """
    return name if len(set(splits)) == 1 else f"{split}/{name}"


def _find_patch(name: str, path: Path, splits_of: Mapping[str, set[str]]) -> tuple[str, str]:
    """Split and name of the patch that a file of corrections is of; two empty texts if of none.

    Raises DatasetError if the name is that of patches in several splits.
    """
    if name in splits_of:
        if len(splits_of[name]) > 1:
            splits = sorted(splits_of[name])
            raise DatasetError(
                f"{path}: patches of that name are in {' and '.join(splits)}; move it to "
                f"{path.parent / splits[0]} or that of the other split"
            )
        return next(iter(splits_of[name])), name
    split, _, rest = name.partition("/")
    if split in splits_of.get(rest, ()):
        return split, rest
    return "", ""


def _add_slides(
    result: CorrectedPatches,
    slides: Mapping[str, Path],
    names: Sequence[str],
    places: Mapping[str, PatchPlace],
    side: int,
) -> None:
    """Add the trusted pixels of patches in corrected slides."""
    shapes: dict[str, list[CorrectedShape]] = {}
    for slide, path in slides.items():
        shapes[slide] = read_corrections(path)
    for name in names:
        place = places.get(name)
        if place is None or place.slide not in shapes or place.split != TRAIN:
            continue
        near = [shape for shape in shapes[place.slide] if touches_place(shape, place)]
        pixels = paint_shapes(
            near, place.left_px0, place.top_px0, side, side, place.side_px0 / side
        )
        if pixels.reviewed.any():
            result.pixels[name] = pixels


def touches_place(shape: CorrectedShape, place: PatchPlace) -> bool:
    """Whether the box round a shape touches a place of the same slide."""
    low, high = shape.polygon.min(axis=0), shape.polygon.max(axis=0)
    left, top = place.left_px0, place.top_px0
    right, bottom = left + place.side_px0, top + place.side_px0
    return bool(low[0] < right and high[0] > left and low[1] < bottom and high[1] > top)


def _splits_by_name(names_by_split: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    splits: dict[str, set[str]] = {}
    for split, names in names_by_split.items():
        for name in names:
            splits.setdefault(name, set()).add(split)
    return splits


def _slides_by_split(places: Mapping[str, PatchPlace]) -> dict[str, set[str]]:
    slides: dict[str, set[str]] = {}
    for place in places.values():
        slides.setdefault(place.split, set()).add(place.slide)
    return slides
