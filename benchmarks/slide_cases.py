"""Step 1 on one made-up slide of 60,000 × 60,000 px: what is decoded, and how fast."""

import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np
from large_slide import outline, write_slide
from measure import Comparison, in_turns

from epsam.annotations.polygons import Annotations, rasterize_tumour
from epsam.config.patches import PatchOptions
from epsam.extraction.sampling import FractionRange, make_candidate_grid, tumour_fractions
from epsam.wsi.reader import open_slide, read_tile
from epsam.wsi.tiff import TiffSlide
from epsam.wsi.tissue import find_tissue, tissue_fractions

SIDE_PX0, WINDOW_PX, STRIDE_PX = 60_000, 512, 256
CHOSEN = (
    170  # about what the CAMELYON17 setting takes of a slide: 12,000 training patches of 35 slides
)
NOTE = f"{CHOSEN} positives and {CHOSEN} negatives chosen of all windows on tissue"


def pixels(device: str) -> Comparison:
    """Pixels decoded: image and mask of every window on tissue, against outlines first and then the
    chosen windows.

    The plain way's mask is a slide of its own, as ASAP makes it from outlines: as many pixels
    again. Both ways keep decoded tiles for the next window.
    """
    plain, ours = _both()
    return Comparison(
        "every window", 2 * plain[0] / 1e6, "chosen windows", ours[0] / 1e6, 20.0, "Mpx", NOTE
    )


def seconds(device: str) -> Comparison:
    """The same in seconds, in one process."""
    plain, ours = _both()
    return Comparison("every window", plain[1], "chosen windows", ours[1], 10.0, "s", NOTE)


def openslide(device: str) -> Comparison:
    """Seconds a window: OpenSlide against our reader, on windows that do not overlap, the slide
    opened anew each time.

    Both keep decoded tiles; windows in the grid's order and a fresh handle leave that no more than
    a run would.
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
                    np.asarray(slide.read_region(corner, 0, (WINDOW_PX, WINDOW_PX)).convert("RGB"))

        def read_ours() -> None:
            with open_slide(path) as slide:
                for left, top in corners:
                    read_tile(slide, left, top, WINDOW_PX, WINDOW_PX)

        plain, mine = in_turns(read_theirs, read_ours, "cpu", 3)
    return Comparison(
        "OpenSlide", plain / len(corners), "our reader", mine / len(corners), 1.5, "s a window"
    )


@cache
def _both() -> tuple[tuple[int, float], tuple[int, float]]:
    """(pixels decoded, seconds) of the plain way and of ours."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tif"
        write_slide(path, SIDE_PX0, (1, 2, 4, 8, 16, 32))
        return _measured(path, everything=True), _measured(path, everything=False)


def _measured(path: Path, everything: bool) -> tuple[int, float]:
    start = time.perf_counter()
    with open_slide(path) as slide:
        assert isinstance(slide, TiffSlide)
        grid = make_candidate_grid(slide.width0, slide.height0, WINDOW_PX, STRIDE_PX)
        outlines = Annotations([outline(slide.width0)])
        tissue = tissue_fractions(find_tissue(slide), grid.lefts_px0, grid.tops_px0, WINDOW_PX)
        on_tissue = tissue >= PatchOptions.min_tissue
        chosen = on_tissue if everything else _chosen(tumour_fractions(outlines, grid), on_tissue)
        for row, column in np.argwhere(chosen).tolist():
            left, top = int(grid.lefts_px0[column]), int(grid.tops_px0[row])
            read_tile(slide, left, top, WINDOW_PX, WINDOW_PX)
            rasterize_tumour(outlines, left, top, WINDOW_PX, WINDOW_PX)
        return slide.decoded_px, time.perf_counter() - start


def _chosen(tumour: np.ndarray, on_tissue: np.ndarray) -> np.ndarray:
    """As many positives and negatives as wanted, spread evenly over the grid."""
    chosen = np.zeros_like(on_tissue)
    positive = FractionRange(PatchOptions.min_tumour, PatchOptions.max_tumour).contains(tumour)
    for kind in (positive, (tumour == 0) & on_tissue):
        places = np.flatnonzero(kind)
        chosen.flat[
            places[np.linspace(0, len(places) - 1, min(CHOSEN, len(places))).astype(int)]
        ] = True
    return chosen
