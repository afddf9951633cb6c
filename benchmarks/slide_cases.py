"""Step 1 on one made-up slide of 60,000 × 60,000 px: what is decoded, and how fast."""

import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np
from large_slide import metastasis, write_slide
from measure import Comparison, in_turns

from epsam.annotations.polygons import Annotations, rasterize_tumour
from epsam.config.patches import PatchOptions
from epsam.extraction.sampling import FractionRange, make_candidate_grid, tumour_fractions
from epsam.wsi.reader import open_slide, read_tile
from epsam.wsi.tiff import TiffSlide
from epsam.wsi.tissue import find_tissue, tissue_fractions

SIDE_PX0, TILE_PX, STRIDE_PX = 60_000, 512, 256
CHOSEN = 170
"""About what the CAMELYON17 setting takes of a slide: 12,000 training patches of 35 slides."""

NOTE = f"{CHOSEN} positives and {CHOSEN} negatives selected from all tiles on tissue"


def pixels(device: str) -> Comparison:
    """Pixels decoded: image and mask of every tile on tissue, against annotations first and then
    the selected tiles.

    The plain way's mask is a slide of its own, as ASAP makes it from annotations: as many pixels
    again. Both ways keep decoded tiles of the TIFF for the next one.
    """
    plain, ours = _measure_both()
    return Comparison(
        "every tile", 2 * plain[0] / 1e6, "selected tiles", ours[0] / 1e6, 20.0, "Mpx", NOTE
    )


def seconds(device: str) -> Comparison:
    """The same in seconds, in one process."""
    plain, ours = _measure_both()
    return Comparison("every tile", plain[1], "selected tiles", ours[1], 10.0, "s", NOTE)


def openslide(device: str) -> Comparison:
    """Seconds per tile, OpenSlide against our reader: tiles that do not overlap, and the slide
    opened anew each time.

    Both cache decoded tiles of the TIFF; the grid's order and a fresh handle make that worth no
    more than in a run.
    """
    from openslide import OpenSlide

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tif"
        write_slide(path, 16_384, (1, 4, 16))
        corners = [
            (left, top) for top in range(5_000, 11_000, 600) for left in range(5_000, 11_000, 600)
        ]

        def read_theirs() -> None:
            with OpenSlide(path) as slide:
                for corner in corners:
                    np.asarray(slide.read_region(corner, 0, (TILE_PX, TILE_PX)).convert("RGB"))

        def read_ours() -> None:
            with open_slide(path) as slide:
                for left, top in corners:
                    read_tile(slide, left, top, TILE_PX, TILE_PX)

        plain, ours = in_turns(read_theirs, read_ours, "cpu", 3)
    return Comparison(
        "OpenSlide", plain / len(corners), "our reader", ours / len(corners), 1.5, "s per tile"
    )


@cache
def _measure_both() -> tuple[tuple[int, float], tuple[int, float]]:
    """(pixels decoded, seconds) of the plain way and of ours."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tif"
        write_slide(path, SIDE_PX0, (1, 2, 4, 8, 16, 32))
        return _measure(path, everything=True), _measure(path, everything=False)


def _measure(path: Path, everything: bool) -> tuple[int, float]:
    start = time.perf_counter()
    with open_slide(path) as slide:
        assert isinstance(slide, TiffSlide)
        grid = make_candidate_grid(slide.width0, slide.height0, TILE_PX, STRIDE_PX)
        annotations = Annotations([metastasis(slide.width0)])
        tissue = tissue_fractions(find_tissue(slide), grid.lefts_px0, grid.tops_px0, TILE_PX)
        on_tissue = tissue >= PatchOptions.min_tissue
        chosen = on_tissue
        if not everything:
            chosen = _select(tumour_fractions(annotations, grid), on_tissue)
        for row, column in np.argwhere(chosen).tolist():
            left, top = int(grid.lefts_px0[column]), int(grid.tops_px0[row])
            read_tile(slide, left, top, TILE_PX, TILE_PX)
            rasterize_tumour(annotations, left, top, TILE_PX, TILE_PX)
        return slide.decoded_px, time.perf_counter() - start


def _select(tumour: np.ndarray, on_tissue: np.ndarray) -> np.ndarray:
    """`CHOSEN` positives and negatives (rows, columns), spread evenly over the grid."""
    chosen = np.zeros_like(on_tissue)
    positive = FractionRange(PatchOptions.min_tumour, PatchOptions.max_tumour).contains(tumour)
    for candidates in (positive, (tumour == 0) & on_tissue):
        indices = np.flatnonzero(candidates)
        count = min(CHOSEN, len(indices))
        evenly = np.linspace(0, len(indices) - 1, count).astype(int)
        chosen.flat[indices[evenly]] = True
    return chosen
