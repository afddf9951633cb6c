"""One slide → its folder of results."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from epsam.annotations.asap_writer import annotations_from_rings, format_asap_xml
from epsam.annotations.contours import ContourTracer, Ring, largest_diameter
from epsam.annotations.geojson import format_geojson
from epsam.annotations.small_regions import SmallRegions
from epsam.core.files import whole_file, write_table, write_text
from epsam.data.images import Rgb, write_jpeg
from epsam.evaluation.slide_scores import ResultFrame
from epsam.extraction.candidates import require_slide_path
from epsam.extraction.discovery import SlideRecord
from epsam.extraction.thumbnail import read_overview
from epsam.inference.pipeline import Gate
from epsam.inference.progress import PhaseTimer, Tick
from epsam.inference.streaming import ClassifiedTiles, SlideInference, TileModel
from epsam.inference.tile_grid import TileGrid, plan_tiles
from epsam.pictures.slide_overlay import draw_slide_overlay
from epsam.tables import TILE_COLUMNS
from epsam.wsi import writer
from epsam.wsi.reader import open_slide
from epsam.wsi.slide import Slide
from epsam.wsi.tissue import TissueMask, find_tissue
from epsam.wsi.writer import Pixels, PyramidFormat, regroup_bands, write_pyramid

PROBABILITY, MASK = (
    PyramidFormat(compression="deflate"),
    PyramidFormat(compression="deflate", average=False),
)
TUMOUR_FROM = 128
"""The least value of probability.tif that stands for more than 0.5."""


@dataclass(frozen=True)
class SlideRule:
    """How slides are read and gated: `mpp` µm/px of the windows, `slide_mpp` for slides that do not
    tell theirs.

    `clip_to_tissue` tells whether what lies on glass is set to 0, `asap` whether outlines are
    written for ASAP, too. Regions and gaps of less than `min_region` µm² are left out of the mask.
    """

    mpp: float
    slide_mpp: float
    overlap: float
    min_tissue: float
    gate: Gate
    clip_to_tissue: bool = True
    min_region: float = 0.0
    asap: bool = False


def segment_slide(
    record: SlideRecord,
    folder: Path,
    network: TileModel,
    rule: SlideRule,
    clock: PhaseTimer,
    progress: Callable[[int], Tick],
) -> tuple[dict[str, Any], ResultFrame]:
    """Write a slide's probability.tif, mask.tif, outlines, overlay and windows.csv into `folder`.

    Returns its row of slides.csv, and how its results lie on the slide. `progress` is told the
    number of windows to look at, and gives what is called with each number that is done.

    Raises SlideError if the slide cannot be read or its pixel size is unknown.
    """
    with open_slide(require_slide_path(record), rule.slide_mpp) as slide:
        with clock.part("tissue"):
            tissue = find_tissue(slide)
        clock.move("tissue", "decode", slide.decoding_s / max(clock.seconds["tissue"], 1e-9))
        grid = plan_tiles(slide, tissue, network.tile_size, rule.overlap, rule.mpp)
        tick = progress(grid.with_tissue(rule.min_tissue))
        scan = SlideInference(
            slide, record.name, grid, network, rule.gate, rule.min_tissue, clock, tick
        )
        write_probability(
            folder / "probability.tif", scan, tissue.close_gaps() if rule.clip_to_tissue else None
        )
        with clock.part("read"):
            image = read_overview(slide)
        # Windows are read while the network works: what counts is how long it had to wait for them.
        clock.move("read", "decode", slide.decoding_s / max(slide.reading_s, 1e-9))
        with clock.part("write"):
            specks = find_specks(folder / "probability.tif", grid, rule.min_region)
            found = write_mask(
                folder / "mask.tif", folder / "probability.tif", specks, grid, tissue
            )
            rings = found.rings
            write_outlines(folder, rings, grid, rule.asap)
            write_jpeg(folder / "overlay.jpg", overlay_of(slide, image, rings, grid))
            write_table(folder / "windows.csv", TILE_COLUMNS, _window_rows(grid, scan.seen))
        row = {**_row(record, grid, scan.seen), **_sizes(slide, grid, tissue, found)}
        return row, ResultFrame(grid.scale, grid.mpp, grid.side_px0)


def write_probability(path: Path, scan: SlideInference, kept: TissueMask | None) -> None:
    """Scan the slide and write its probability as it comes, 0..255; 0 where there is none of the
    `kept` tissue.
    """
    grid = scan.grid
    bands = clipped(scan.rows(), kept, grid.scale) if kept else scan.rows()
    with scan.clock.part("write"):
        write_pyramid(
            path,
            _paused(regroup_bands(bands, PROBABILITY.tile), scan.clock),
            (grid.height, grid.width),
            grid.mpp,
            PROBABILITY,
        )


def clipped(bands: Iterator[Pixels], kept: TissueMask, scale: float) -> Iterator[Pixels]:
    """Bands of rows (rows, width) from top to bottom, with 0 wherever there is no tissue to be
    kept.
    """
    top = 0
    for band in bands:
        yield np.where(kept.resample(top, (len(band), band.shape[1]), scale), band, 0).astype(
            band.dtype
        )
        top += len(band)


@dataclass(frozen=True)
class SlideRegions:
    """What a mask holds: its pixels, those of them that lie on tissue, and the outlines around
    them.
    """

    tumour_px: int
    tissue_px: int
    rings: list[Ring]


def find_specks(probability: Path, grid: TileGrid, min_region: float) -> SmallRegions:
    """The regions and gaps of a probability file that are smaller than `min_region` µm²; 0: none,
    without a look.
    """
    tracer = ContourTracer(grid.width)
    if min_region:
        for band in bands_of_file(probability):
            tracer.add(band >= TUMOUR_FROM)
    return SmallRegions(tracer.trace_rings(), min_region / grid.mpp**2)


def write_mask(
    path: Path, probability: Path, specks: SmallRegions, grid: TileGrid, tissue: TissueMask
) -> SlideRegions:
    """The mask, 0 and 255, of a probability file, without its specks; returns what it holds."""
    counts, tracer = np.zeros(2, np.int64), ContourTracer(grid.width)

    def bands() -> Iterator[Pixels]:
        top = 0
        for band in bands_of_file(probability):
            tumour = specks.remove_from(band >= TUMOUR_FROM, top)
            on_tissue = tumour & tissue.resample(top, (len(band), band.shape[1]), grid.scale)
            counts[:] += np.count_nonzero(tumour), np.count_nonzero(on_tissue)
            top += len(band)
            tracer.add(tumour)
            yield tumour.astype(np.uint8) * 255

    write_pyramid(path, bands(), (grid.height, grid.width), grid.mpp, MASK)
    return SlideRegions(int(counts[0]), int(counts[1]), tracer.trace_rings())


def write_outlines(folder: Path, rings: Sequence[Ring], grid: TileGrid, asap: bool) -> None:
    """tumour.geojson and, if asked for, tumour.xml, both in level-0 pixels."""
    with whole_file(folder / "tumour.geojson") as path, path.open("w", encoding="utf-8") as stream:
        stream.writelines(format_geojson(rings, grid.scale, grid.mpp))
    if asap:
        write_text(
            folder / "tumour.xml", format_asap_xml(annotations_from_rings(rings, grid.scale))
        )


def overlay_of(slide: Slide, image: Rgb, rings: Sequence[Ring], grid: TileGrid) -> Rgb:
    """The slide's overview with outlines and a scale bar."""
    shrunk = image.shape[1] / slide.width0
    outlines = [ring.points_xy * (grid.scale * shrunk) for ring in rings]
    return draw_slide_overlay(image, outlines, (slide.mpp or 0.0) / shrunk)


def bands_of_file(path: Path) -> Iterator[Pixels]:
    """Level 0 of a grey tiled TIFF of ours, a row of tiles at a time."""
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        height, width = page.shape
        rows = int(page.tilelength)
        band = np.zeros((min(rows, height), width), np.uint8)
        columns = -(-width // int(page.tilewidth))
        for number, (tile, _, _) in enumerate(
            page.segments(maxworkers=1, buffersize=writer.BUFFER_BYTES)
        ):
            row, column = divmod(number, columns)
            left = column * int(page.tilewidth)
            part = tile[0, : height - row * rows, : width - left, 0]
            band[: len(part), left : left + part.shape[1]] = part
            if column == columns - 1:
                yield band[: height - row * rows].copy()


def _paused(bands: Iterator[Pixels], clock: PhaseTimer) -> Iterator[Pixels]:
    """The bands, whose making is no part of the writing around it."""
    while True:
        with clock.part("other"):
            band = next(bands, None)
        if band is None:
            return
        yield band


def _window_rows(grid: TileGrid, seen: ClassifiedTiles) -> Iterator[dict[str, Any]]:
    for row, column, score, gated in zip(
        seen.rows, seen.columns, seen.scores, seen.gated, strict=True
    ):
        x, y = grid.corner_px0(row, column)
        yield {
            "x": x,
            "y": y,
            "tissue": f"{grid.tissue[row, column]:.4f}",
            "probability": f"{score:.6f}",
            "gated": int(gated),
        }


def _row(record: SlideRecord, grid: TileGrid, seen: ClassifiedTiles) -> dict[str, Any]:
    return {
        "slide": record.name,
        "status": "done",
        "mpp": f"{grid.mpp:.4f}",
        "width": grid.width,
        "height": grid.height,
        "windows": grid.windows,
        "seen": len(seen.scores),
        "gated": sum(seen.gated),
        "probability": f"{max(seen.scores, default=0.0):.6f}",
    }


def _sizes(slide: Slide, grid: TileGrid, tissue: TissueMask, found: SlideRegions) -> dict[str, Any]:
    tissue_mm2 = (
        float(np.count_nonzero(tissue.mask)) * (tissue.downsample * (slide.mpp or 0.0)) ** 2 / 1e6
    )
    px_mm2 = grid.mpp**2 / 1e6
    # Both are counted on grids of their own, whose borders differ by a pixel.
    share = min(1.0, found.tissue_px * px_mm2 / tissue_mm2) if tissue_mm2 else 0.0
    regions = [ring.points_xy for ring in found.rings if not ring.is_hole]
    diameter_mm = max(map(largest_diameter, regions), default=0.0) * grid.mpp / 1e3
    return {
        "tissue_mm2": f"{tissue_mm2:.6f}",
        "tumour_mm2": f"{found.tumour_px * px_mm2:.6f}",
        "tumour_share": f"{share:.6f}",
        "regions": len(regions),
        "largest_diameter_mm": f"{diameter_mm:.4f}",
    }
