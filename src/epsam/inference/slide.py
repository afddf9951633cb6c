"""One slide → its folder of results."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from epsam.data.images import Rgb, write_jpeg
from epsam.files import whole_file, write_table, write_text
from epsam.inference.clock import Clock
from epsam.inference.grid import WindowGrid, plan_windows
from epsam.inference.pipeline import Gate
from epsam.inference.stream import Network, Scan, Seen
from epsam.inference.truth import WINDOW_COLUMNS, Frame
from epsam.pictures.slide_overlay import slide_overlay
from epsam.slides import writer
from epsam.slides.asap import asap_xml, drawn_rings
from epsam.slides.contours import Ring, Tracer, largest_diameter
from epsam.slides.geojson import regions_geojson
from epsam.slides.inventory import SlideRecord
from epsam.slides.reader import open_slide
from epsam.slides.slide import Slide
from epsam.slides.specks import Specks
from epsam.slides.thumbnail import overview
from epsam.slides.tissue import Tissue, find_tissue
from epsam.slides.windows import slide_path
from epsam.slides.writer import Pixels, Pyramid, regrouped, write_pyramid

PROBABILITY, MASK = Pyramid(compression="deflate"), Pyramid(compression="deflate", averaged=False)
TUMOUR_FROM = 128
"""The least value of probability.tif that stands for more than 0.5."""


@dataclass(frozen=True)
class SlideRule:
    """How slides are read and gated: `mpp` µm/px of the windows, `slide_mpp` for slides that do not tell theirs.

    `clip_to_tissue` tells whether what lies on glass is set to 0, `asap` whether outlines are written for ASAP, too.
    Regions and gaps of less than `min_region` µm² are left out of the mask.
    """

    mpp: float
    slide_mpp: float
    overlap: float
    min_tissue: float
    gate: Gate
    clip_to_tissue: bool = True
    min_region: float = 0.0
    asap: bool = False


Tick = Callable[[int], object]


def segment_slide(record: SlideRecord, folder: Path, network: Network, rule: SlideRule, clock: Clock,
                  progress: Callable[[int], Tick]) -> tuple[dict[str, Any], Frame]:
    """Write a slide's probability.tif, mask.tif, outlines, overlay and windows.csv into `folder`.

    Returns its row of slides.csv, and how its results lie on the slide. `progress` is told the number of windows to
    look at, and gives what is called with each number that is done.

    Raises SlideError if the slide cannot be read or its pixel size is unknown.
    """
    with open_slide(slide_path(record), rule.slide_mpp) as slide:
        with clock.part("tissue"):
            tissue = find_tissue(slide)
        clock.move("tissue", "decode", slide.decoding_s / max(clock.seconds["tissue"], 1e-9))
        grid = plan_windows(slide, tissue, network.window_size, rule.overlap, rule.mpp)
        tick = progress(grid.with_tissue(rule.min_tissue))
        scan = Scan(slide, record.name, grid, network, rule.gate, rule.min_tissue, clock, tick)
        write_probability(folder / "probability.tif", scan, tissue.body() if rule.clip_to_tissue else None)
        with clock.part("read"):
            image = overview(slide)
        # Windows are read while the network works: what counts is how long it had to wait for them.
        clock.move("read", "decode", slide.decoding_s / max(slide.reading_s, 1e-9))
        with clock.part("write"):
            specks = find_specks(folder / "probability.tif", grid, rule.min_region)
            found = write_mask(folder / "mask.tif", folder / "probability.tif", specks, grid, tissue)
            rings = found.rings
            write_outlines(folder, rings, grid, rule.asap)
            write_jpeg(folder / "overlay.jpg", overlay_of(slide, image, rings, grid))
            write_table(folder / "windows.csv", WINDOW_COLUMNS, _window_rows(grid, scan.seen))
        row = {**_row(record, grid, scan.seen), **_sizes(slide, grid, tissue, found)}
        return row, Frame(grid.scale, grid.mpp, grid.side_px0)


def write_probability(path: Path, scan: Scan, kept: Tissue | None) -> None:
    """Scan the slide and write its probability as it comes, 0..255; 0 where there is none of the `kept` tissue."""
    grid = scan.grid
    bands = clipped(scan.rows(), kept, grid.scale) if kept else scan.rows()
    with scan.clock.part("write"):
        write_pyramid(path, _paused(regrouped(bands, PROBABILITY.tile), scan.clock), (grid.height, grid.width),
                      grid.mpp, PROBABILITY)


def clipped(bands: Iterator[Pixels], kept: Tissue, scale: float) -> Iterator[Pixels]:
    """Bands of rows (rows, width) from top to bottom, with 0 wherever there is no tissue to be kept."""
    top = 0
    for band in bands:
        yield np.where(kept.seen_at(top, (len(band), band.shape[1]), scale), band, 0).astype(band.dtype)
        top += len(band)


@dataclass(frozen=True)
class Found:
    """What a mask holds: its pixels, those of them that lie on tissue, and the outlines around them."""

    tumour_px: int
    tissue_px: int
    rings: list[Ring]


def find_specks(probability: Path, grid: WindowGrid, min_region: float) -> Specks:
    """The regions and gaps of a probability file that are smaller than `min_region` µm²; 0: none, without a look."""
    tracer = Tracer(grid.width)
    if min_region:
        for band in bands_of_file(probability):
            tracer.add(band >= TUMOUR_FROM)
    return Specks(tracer.rings(), min_region / grid.mpp**2)


def write_mask(path: Path, probability: Path, specks: Specks, grid: WindowGrid, tissue: Tissue) -> Found:
    """The mask, 0 and 255, of a probability file, without its specks; returns what it holds."""
    counts, tracer = np.zeros(2, np.int64), Tracer(grid.width)

    def bands() -> Iterator[Pixels]:
        top = 0
        for band in bands_of_file(probability):
            tumour = specks.turned(band >= TUMOUR_FROM, top)
            on_tissue = tumour & tissue.seen_at(top, (len(band), band.shape[1]), grid.scale)
            counts[:] += np.count_nonzero(tumour), np.count_nonzero(on_tissue)
            top += len(band)
            tracer.add(tumour)
            yield tumour.astype(np.uint8) * 255

    write_pyramid(path, bands(), (grid.height, grid.width), grid.mpp, MASK)
    return Found(int(counts[0]), int(counts[1]), tracer.rings())


def write_outlines(folder: Path, rings: Sequence[Ring], grid: WindowGrid, asap: bool) -> None:
    """tumour.geojson and, if asked for, tumour.xml, both in level-0 pixels."""
    with whole_file(folder / "tumour.geojson") as path, path.open("w", encoding="utf-8") as stream:
        stream.writelines(regions_geojson(rings, grid.scale, grid.mpp))
    if asap:
        write_text(folder / "tumour.xml", asap_xml(drawn_rings(rings, grid.scale)))


def overlay_of(slide: Slide, image: Rgb, rings: Sequence[Ring], grid: WindowGrid) -> Rgb:
    """The slide's overview with outlines and a scale bar."""
    shrunk = image.shape[1] / slide.width0
    outlines = [ring.points_xy * (grid.scale * shrunk) for ring in rings]
    return slide_overlay(image, outlines, (slide.mpp or 0.0) / shrunk)


def bands_of_file(path: Path) -> Iterator[Pixels]:
    """Level 0 of a grey tiled TIFF of ours, a row of tiles at a time."""
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        height, width = page.shape
        rows = int(page.tilelength)
        band = np.zeros((min(rows, height), width), np.uint8)
        columns = -(-width // int(page.tilewidth))
        for number, (tile, _, _) in enumerate(page.segments(maxworkers=1, buffersize=writer.BUFFER_BYTES)):
            row, column = divmod(number, columns)
            left = column * int(page.tilewidth)
            part = tile[0, :height - row * rows, :width - left, 0]
            band[:len(part), left:left + part.shape[1]] = part
            if column == columns - 1:
                yield band[:height - row * rows].copy()


def _paused(bands: Iterator[Pixels], clock: Clock) -> Iterator[Pixels]:
    """The bands, whose making is no part of the writing around it."""
    while True:
        with clock.part("other"):
            band = next(bands, None)
        if band is None:
            return
        yield band


def _window_rows(grid: WindowGrid, seen: Seen) -> Iterator[dict[str, Any]]:
    for row, column, score, gated in zip(seen.rows, seen.columns, seen.scores, seen.gated, strict=True):
        x, y = grid.corner_px0(row, column)
        yield {"x": x, "y": y, "tissue": f"{grid.tissue[row, column]:.4f}", "probability": f"{score:.6f}",
               "gated": int(gated)}


def _row(record: SlideRecord, grid: WindowGrid, seen: Seen) -> dict[str, Any]:
    return {"slide": record.name, "status": "done", "mpp": f"{grid.mpp:.4f}", "width": grid.width,
            "height": grid.height, "windows": grid.windows, "seen": len(seen.scores), "gated": sum(seen.gated),
            "probability": f"{max(seen.scores, default=0.0):.6f}"}


def _sizes(slide: Slide, grid: WindowGrid, tissue: Tissue, found: Found) -> dict[str, Any]:
    tissue_mm2 = float(np.count_nonzero(tissue.mask)) * (tissue.downsample * (slide.mpp or 0.0)) ** 2 / 1e6
    px_mm2 = grid.mpp**2 / 1e6
    # Both are counted on grids of their own, whose borders differ by a pixel.
    share = min(1.0, found.tissue_px * px_mm2 / tissue_mm2) if tissue_mm2 else 0.0
    regions = [ring.points_xy for ring in found.rings if not ring.is_hole]
    diameter_mm = max(map(largest_diameter, regions), default=0.0) * grid.mpp / 1e3
    return {"tissue_mm2": f"{tissue_mm2:.6f}", "tumour_mm2": f"{found.tumour_px * px_mm2:.6f}",
            "tumour_share": f"{share:.6f}", "regions": len(regions), "largest_diameter_mm": f"{diameter_mm:.4f}"}
