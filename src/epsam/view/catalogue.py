"""What a folder of results holds: the slides or images of infer.sh, and the files beside them."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from epsam.annotations.groups import GroupNames
from epsam.core.errors import DatasetError
from epsam.core.files import read_json, read_table
from epsam.core.output_folders import INFERENCE, RECORD_FILE, is_output_of
from epsam.data.patches import Patch
from epsam.evaluation.slide_scores import ResultFrame
from epsam.extraction.discovery import SlideRecord
from epsam.extraction.splits import normalize_slide_name
from epsam.inference.inputs import contains_slides, find_images, find_slides, list_input_folders
from epsam.inference.slide_files import CONTOUR_FILE, PACKED_CONTOUR_FILE
from epsam.inference.slide_store import RESULT_FILE, read_slide_result

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ViewedImage:
    """A slide or image, and the files of its results; None where there is none.

    row: its row of slides.csv or metrics.csv. frame: how the results lie on the slide. record:
    the slide with its annotations. ground_truth: the mask of an image's ground truth.
    """

    name: str
    path: Path
    row: Mapping[str, str]
    frame: ResultFrame
    probability: Path | None = None
    mask: Path | None = None
    contours: Path | None = None
    tiles: Path | None = None
    record: SlideRecord | None = None
    ground_truth: Path | None = None

    @property
    def correction_name(self) -> str:
        """The name of its file of corrections, without suffix: that of the slide, or of the image
        as training names it.
        """
        return self.name if self.record else self.name.removesuffix(self.path.suffix)


@dataclass(frozen=True)
class Catalogue:
    """The images of a folder of results, in the order of their table.

    unseen: by name, why an image is not shown.
    """

    folder: Path
    images: list[ViewedImage]
    unseen: dict[str, str] = field(default_factory=dict)


def read_catalogue(
    folder: Path, image_folders: Sequence[str] = (), base: Path | None = None
) -> Catalogue:
    """The results in a folder of infer.sh.

    image_folders: where the slides or images are, if not where the record of the results says.
    base: the folder that relative paths in the record begin at, if not the current one.

    Raises DatasetError if the folder holds no results, or if no slide or image of them is there.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; give an output folder of infer.sh")
    if not is_output_of(INFERENCE, folder) or not (folder / RECORD_FILE).is_file():
        raise DatasetError(f"{folder}: no finished results of infer.sh; give its output folder")
    options = read_json(folder / RECORD_FILE).get(INFERENCE, {}).get("options", {})
    sources = [Path(name) for name in image_folders] or [_recorded_source(options, base)]
    for source in sources:
        if not source.exists():
            raise DatasetError(f"{source}: not there any more; give the slides' folder by --slides")

    if (folder / "metrics.csv").is_file():
        catalogue = _read_images(folder, sources, options)
    else:
        catalogue = _read_slides(folder, sources, options)
    for name, reason in catalogue.unseen.items():
        log.warning("%s: not shown: %s", name, reason)
    if not catalogue.images:
        raise DatasetError(
            f"{folder}: nothing to show, {len(catalogue.unseen)} results without a slide or image; "
            "give the folder of these by --slides"
        )
    return catalogue


def _recorded_source(options: Mapping[str, Any], base: Path | None) -> Path:
    """The slides or images that results were made of, by the options of infer.py."""
    default = Path(options.get("dataset_root", "dataset"), options.get("dataset_type", ""), "test")
    source = Path(options.get("test_dataset_dir") or default)
    return source if source.exists() or base is None else base / source


def _read_slides(folder: Path, sources: Sequence[Path], options: Mapping[str, Any]) -> Catalogue:
    groups = GroupNames(
        tuple(options.get("tumour_groups", ())), tuple(options.get("hole_groups", ()))
    )
    records: dict[str, SlideRecord] = {}
    for source in sources:
        for record in find_slides(source, groups=groups):
            records.setdefault(record.name, record)
    table = folder / "slides.csv"
    # The table has Dice, which a slide's own result lacks; a shard has no table.
    rows = {row["slide"]: row for row in read_table(table, ("slide",))} if table.is_file() else {}

    catalogue = Catalogue(folder, [])
    for result_file in sorted(folder.glob(f"*/{RESULT_FILE}")):
        name = result_file.parent.name
        result = read_slide_result(folder, name)
        match = records.get(normalize_slide_name(name))
        if result is None or result.frame is None:
            reason = result.row.get("reason", "") if result else "damaged results"
            catalogue.unseen[name] = str(reason)
        elif match is None or match.path is None:
            catalogue.unseen[name] = f"no slide of this name in {', '.join(map(str, sources))}"
        elif reason := _why_outside(match.path, sources):
            catalogue.unseen[name] = reason
        else:
            row = rows.get(name, result.row)
            image = _view_slide(result_file.parent, match.path, match, row, result.frame, sources)
            catalogue.images.append(image)
    return catalogue


def _view_slide(
    results: Path,
    path: Path,
    record: SlideRecord,
    row: Mapping[str, str],
    frame: ResultFrame,
    sources: Sequence[Path],
) -> ViewedImage:
    if record.annotations and _why_outside(record.annotations, sources):
        record = replace(record, annotations=None)
    return ViewedImage(
        name=results.name,
        path=path,
        row=row,
        frame=frame,
        probability=_existing(results / "probability.tif"),
        mask=_existing(results / "mask.tif"),
        contours=_existing(results / CONTOUR_FILE) or _existing(results / PACKED_CONTOUR_FILE),
        tiles=_existing(results / "windows.csv"),
        record=record,
    )


def _read_images(folder: Path, sources: Sequence[Path], options: Mapping[str, Any]) -> Catalogue:
    patches: dict[str, Patch] = {}
    for source in sources:
        if not contains_slides(source):
            for patch in find_images(source, options.get("labels", "auto")):
                patches.setdefault(patch.file_name, patch)

    catalogue = Catalogue(folder, [])
    for row in read_table(folder / "metrics.csv", ("image",)):
        name = row["image"]
        match = patches.get(name)
        if match is None:
            catalogue.unseen[name] = f"no image of this name in {', '.join(map(str, sources))}"
        elif reason := _why_outside(match.image, sources):
            catalogue.unseen[name] = reason
        else:
            mask = _existing(folder / "mask" / f"{match.name}.png")
            truth = match.mask if match.mask and not _why_outside(match.mask, sources) else None
            # An image is its own level 0, of unknown pixel size.
            frame = ResultFrame(1.0, 0.0, 0)
            image = ViewedImage(name, match.image, row, frame, mask=mask, ground_truth=truth)
            catalogue.images.append(image)
    return catalogue


def _existing(path: Path) -> Path | None:
    """The path if it is a file of its folder; no link leads out of a folder of results."""
    return path if path.is_file() and not path.is_symlink() else None


def _why_outside(path: Path, sources: Iterable[Path]) -> str:
    """Why a file is not shown: it is a link that leads out of the folders; "" if it does not."""
    target = path.resolve()
    for source in sources:
        # One slide may stand for its folder. images/ itself may be a link, given by the user.
        folder = source.parent if source.is_file() else source
        # Annotations may lie beside the folder of the slides.
        for place in (*list_input_folders(folder), folder.parent / "annotations"):
            if target.is_relative_to(place.resolve()):
                return ""
    return f"{path} leads out of the given folders, to {target}; give that folder by --slides, too"
