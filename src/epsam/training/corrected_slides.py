"""Corrected slides and images that the dataset does not hold, as training slides of one run:
patches of their reviewed area, in the run's own folder. The dataset's splits stay as they are.
"""

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from epsam.config.decoder import RetrainOptions
from epsam.config.flags import stored_options
from epsam.config.metadata import merge_fields
from epsam.config.patches import PatchOptions
from epsam.core.artifact import SIZES, Artifact, Key
from epsam.core.distributed import is_main_process, wait_for_all
from epsam.core.files import quick_hash, read_json, sha256_of, write_table
from epsam.core.records import add_to_record
from epsam.corrections.reading import read_corrections
from epsam.data.images import write_probability, write_rgb
from epsam.data.patches import Patch, list_patches, load_median_mpp
from epsam.paths import DatasetPaths, RunPaths
from epsam.tables import PATCH_COLUMNS
from epsam.training.corrected_sources import CorrectedSlide
from epsam.training.reviewed_windows import (
    MIN_REVIEWED,
    PatchGeometry,
    choose_windows,
    paint_place,
)
from epsam.wsi.image_file import ImageFile
from epsam.wsi.reader import Slide, open_slide, read_tile

NAME = "corrected_slides"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SlidePatches:
    """Patches of corrected slides, and the files of their targets by name."""

    patches: list[Patch] = field(default_factory=list)
    targets: dict[str, Path] = field(default_factory=dict)


def extract_corrected_slides(
    options: RetrainOptions, slides: Sequence[CorrectedSlide], train: Sequence[Patch], side: int
) -> SlidePatches:
    """Patches of `side` px of the slides' reviewed area, as the run's folder corrected_slides/
    holds them; extracted unless they are there already.

    Raises SlideError, ImageError or AnnotationError if a file cannot be read.
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
        "%d corrected slides and images outside of the dataset: %d patches, %d with tumour, are "
        "training patches of this run",
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


def _open(slide: CorrectedSlide, geometry: PatchGeometry) -> Slide:
    if slide.is_image:
        return ImageFile(slide.path)
    return open_slide(slide.path, geometry.slide_mpp)


def write_slide_patches(
    slide: CorrectedSlide, geometry: PatchGeometry, folder: Path
) -> list[dict[str, object]]:
    """Write image/ and target/ of a slide's patches, and return their rows of patches.csv."""
    shapes = read_corrections(slide.corrections)
    rows = []
    with _open(slide, geometry) as opened:
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
