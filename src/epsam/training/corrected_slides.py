"""Corrected slides that the dataset does not hold, as training slides of one run: patches of their
reviewed area, in the run's own folder. The dataset's splits stay as they are.
"""

import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from epsam.config.decoder import RetrainOptions
from epsam.config.flags import stored_options
from epsam.config.metadata import merge_fields
from epsam.config.patches import PatchOptions
from epsam.core.artifact import SIZES, Artifact, Key
from epsam.core.distributed import is_main_process, wait_for_all
from epsam.core.errors import DatasetError, SlideError
from epsam.core.files import quick_hash, read_json, sha256_of, write_table
from epsam.core.records import add_to_record
from epsam.corrections.patches import PatchPlace, touches_place
from epsam.corrections.reading import read_corrections
from epsam.corrections.shapes import CorrectedShape, TrustedPixels, paint_shapes
from epsam.data.images import write_probability, write_rgb
from epsam.data.patches import Patch, list_patches, load_median_mpp
from epsam.extraction.sampling import CandidateGrid, make_candidate_grid
from epsam.paths import DatasetPaths, RunPaths
from epsam.tables import PATCH_COLUMNS
from epsam.training.held_out import find_held_out, list_slide_files
from epsam.wsi.reader import Slide, open_slide, read_tile
from epsam.wsi.tissue import find_tissue, tissue_fractions

NAME = "corrected_slides"
MIN_REVIEWED = 0.05
"""This project: a window with less of its pixels reviewed is no patch, as it holds a sliver."""
MAX_PATCHES = 500
"""This project: most patches of one slide with tumour, and as many without."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SlidePatches:
    """Patches of corrected slides, and the files of their targets by name."""

    patches: list[Patch] = field(default_factory=list)
    targets: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class CorrectedSlide:
    """A slide, and the file of its corrections."""

    name: str
    path: Path
    corrections: Path


@dataclass(frozen=True)
class PatchGeometry:
    """Side of the patches in px, their pixel size in µm (None: level 0 as it is), the pixel size of
    slides that state none, and the least fraction of tissue in a patch without tumour.
    """

    side: int
    mpp: float | None
    slide_mpp: float
    min_tissue: float


@dataclass(frozen=True)
class ReviewedWindow:
    """A window of a slide with a reviewed area: where it lies, and its fraction of tumour."""

    place: PatchPlace
    tumour: float


@dataclass(frozen=True)
class SortedFiles:
    """Files of corrections that are of nothing in the dataset, by what they are good for."""

    slides: list[CorrectedSlide]
    held_out: list[Path]
    unmatched: list[Path]


def sort_files(files: Sequence[Path], folder: str, paths: DatasetPaths) -> SortedFiles:
    """Which of the files of corrections are of slides in `folder`, or of the dataset's slides that
    gave no patches, and which of these may be learnt from.

    Raises DatasetError if there is no such folder.
    """
    if folder and not Path(folder).exists():
        raise DatasetError(f"{folder}: no such folder of corrected slides; correct the path")
    sources = [paths.slides, *([Path(folder)] if folder else [])]
    slides = list_slide_files(sources)
    held_out = find_held_out(paths)
    result = SortedFiles([], [], [])
    for path in files:
        slide = slides.get(path.stem)
        if held_out.holds(path.stem, slide):
            result.held_out.append(path)
        elif slide:
            result.slides.append(CorrectedSlide(path.stem, slide, path))
        else:
            result.unmatched.append(path)
    return result


def extract_corrected_slides(
    options: RetrainOptions, slides: Sequence[CorrectedSlide], train: Sequence[Patch], side: int
) -> SlidePatches:
    """Patches of `side` px of the slides' reviewed area, as the run's folder corrected_slides/
    holds them; extracted unless they are there already.

    Raises SlideError or AnnotationError if a file cannot be read.
    """
    run = RunPaths.of(options)
    if not slides:
        # Those of corrections that have been taken back since.
        if is_main_process():
            shutil.rmtree(run.corrected_slides, ignore_errors=True)
        return SlidePatches()
    geometry = read_geometry(DatasetPaths.of(options), train, side)
    artifact = Artifact(
        run.corrected_slides,
        _key(slides, geometry),
        record=run.corrected_slides / "slides.json",
        check=SIZES,
    )
    if is_main_process() and not artifact.is_current():
        started = time.monotonic()
        with artifact.replace() as replacement:
            rows = []
            for slide in slides:
                rows += write_slide_patches(slide, geometry, replacement.path)
            write_table(replacement.path / "patches.csv", PATCH_COLUMNS, rows)
        seconds = time.monotonic() - started
        # So that the run says what it has learnt from.
        inputs = {slide.name: quick_hash(slide.path) for slide in slides}
        add_to_record(run.record, NAME, stored_options(options), seconds, inputs)
    # Of the processes that share the stage, none reads them before they are complete.
    wait_for_all()
    patches = list_patches(run.corrected_slides / "image", None)
    targets = {}
    for patch in patches:
        targets[patch.name] = run.corrected_slides / "target" / f"{patch.name}.png"
    log.info(
        "%d corrected slides outside of the dataset: %d patches, %d with tumour, are training "
        "patches of this run",
        len(slides),
        len(patches),
        sum(1 for patch in patches if patch.label),
    )
    return SlidePatches(patches, targets)


def read_geometry(paths: DatasetPaths, train: Sequence[Patch], side: int) -> PatchGeometry:
    """How patches of a slide have to be cut so that they are as those of the dataset."""
    stored = read_json(paths.patch_options) if paths.patch_options.is_file() else {}
    extraction = merge_fields(PatchOptions, stored.get("options", {}))
    mpp = load_median_mpp(train, paths.patch_table)
    return PatchGeometry(side, mpp, extraction.slide_mpp, extraction.min_tissue)


def _key(slides: Sequence[CorrectedSlide], geometry: PatchGeometry) -> Key:
    inputs = {}
    for slide in slides:
        inputs[slide.name] = f"{quick_hash(slide.path)} {sha256_of(slide.corrections)}"
    return Key({"side": geometry.side, "mpp": geometry.mpp}, inputs)


def write_slide_patches(
    slide: CorrectedSlide, geometry: PatchGeometry, folder: Path
) -> list[dict[str, object]]:
    """Write image/ and target/ of a slide's patches, and return their rows of patches.csv."""
    shapes = read_corrections(slide.corrections)
    rows = []
    with open_slide(slide.path, geometry.slide_mpp) as opened:
        windows = choose_windows(opened, slide.name, shapes, geometry)
        for window in windows:
            place = window.place
            label = int(window.tumour > 0)
            patch_id = f"{slide.name}_x{place.left_px0:.0f}_y{place.top_px0:.0f}"
            file_name = f"{patch_id}_{label}.png"
            left, top, size = int(place.left_px0), int(place.top_px0), int(place.side_px0)
            image = read_tile(opened, left, top, size, geometry.side)
            write_rgb(folder / "image" / file_name, image)
            pixels = paint_place(shapes, place, geometry.side)
            # Grey as `example_targets.load_correction` reads it.
            values = (pixels.reviewed.astype(np.float32) + pixels.tumour) / 2
            write_probability(folder / "target" / file_name, values)
            row: dict[str, object] = {"id": patch_id, "slide": slide.name, "split": place.split}
            row |= {"label": label, "x": left, "y": top, "size": size}
            row |= {"mpp": geometry.mpp or "", "tumour": f"{window.tumour:.4f}"}
            rows.append(row)
    if not rows:
        log.warning(
            "%s: no window of %d px has %.0f %% of its pixels reviewed; correct a larger area",
            slide.corrections,
            geometry.side,
            100 * MIN_REVIEWED,
        )
    return rows


def choose_windows(
    slide: Slide, name: str, shapes: Sequence[CorrectedShape], geometry: PatchGeometry
) -> list[ReviewedWindow]:
    """The windows of a grid without overlap that have a reviewed area: those with tumour, and of
    the others those on tissue; evenly spaced ones if they are too many.
    """
    grid = _make_grid(slide, geometry)
    with_tumour: list[ReviewedWindow] = []
    without: list[ReviewedWindow] = []
    for place in _places_near(shapes, grid, name):
        pixels = paint_place(shapes, place, geometry.side)
        if pixels.reviewed.mean() < MIN_REVIEWED:
            continue
        window = ReviewedWindow(place, float(pixels.tumour.mean()))
        (with_tumour if window.tumour else without).append(window)
    if without:
        without = _on_tissue(slide, grid, without, geometry.min_tissue)
    return [*_spread(with_tumour), *_spread(without)]


def paint_place(shapes: Sequence[CorrectedShape], place: PatchPlace, side: int) -> TrustedPixels:
    """What a person has said of the pixels (side, side) at a place of a slide."""
    near = [shape for shape in shapes if touches_place(shape, place)]
    scale = place.side_px0 / side
    return paint_shapes(near, place.left_px0, place.top_px0, side, side, scale)


def _make_grid(slide: Slide, geometry: PatchGeometry) -> CandidateGrid:
    scale = 1.0
    if geometry.mpp:
        if not slide.mpp:
            raise SlideError(
                f"{slide.path}: no pixel size in the file, which patches of {geometry.mpp:g} µm/px "
                "need; write it into the file, or remove the slide's corrections"
            )
        scale = geometry.mpp / slide.mpp
    side_px0 = max(1, round(geometry.side * scale))
    grid = make_candidate_grid(slide.width0, slide.height0, side_px0, side_px0)
    if not grid.n_tiles:
        raise SlideError(
            f"{slide.path}: {slide.width0}×{slide.height0} px is smaller than a patch of "
            f"{side_px0} px; remove the slide's corrections"
        )
    return grid


def _places_near(
    shapes: Sequence[CorrectedShape], grid: CandidateGrid, name: str
) -> Iterator[PatchPlace]:
    """The windows of the grid that the boxes round the shapes touch, in reading order."""
    touched: set[tuple[int, int]] = set()
    for shape in shapes:
        low = np.floor(shape.polygon.min(axis=0) / grid.side_px0).astype(int)
        high = np.floor(shape.polygon.max(axis=0) / grid.side_px0).astype(int)
        for row in range(max(low[1], 0), min(high[1] + 1, len(grid.tops_px0))):
            for column in range(max(low[0], 0), min(high[0] + 1, len(grid.lefts_px0))):
                touched.add((row, column))
    for row, column in sorted(touched):
        left, top = float(grid.lefts_px0[column]), float(grid.tops_px0[row])
        yield PatchPlace(name, "train", left, top, grid.side_px0)


def _on_tissue(
    slide: Slide, grid: CandidateGrid, windows: Sequence[ReviewedWindow], min_tissue: float
) -> list[ReviewedWindow]:
    """The windows with enough tissue; a patch of glass would teach nothing."""
    fractions = tissue_fractions(find_tissue(slide), grid.lefts_px0, grid.tops_px0, grid.side_px0)
    on_tissue = []
    for window in windows:
        row = round(window.place.top_px0) // grid.side_px0
        column = round(window.place.left_px0) // grid.side_px0
        if fractions[row, column] >= min_tissue:
            on_tissue.append(window)
    return on_tissue


def _spread(windows: Sequence[ReviewedWindow]) -> list[ReviewedWindow]:
    """At most `MAX_PATCHES` of the windows, evenly spaced."""
    if len(windows) <= MAX_PATCHES:
        return list(windows)
    chosen = np.linspace(0, len(windows) - 1, MAX_PATCHES).round().astype(int)
    return [windows[index] for index in chosen]
