"""The result files of a slide: probability, mask, contours, overlay, table of tiles."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from epsam.annotations.asap_writer import annotations_from_rings, format_asap_xml
from epsam.annotations.contours import ContourTracer, Ring, largest_diameter
from epsam.annotations.geojson import format_geojson, write_geojson
from epsam.annotations.regions import leave_out_small_regions, list_regions
from epsam.annotations.small_regions import SmallRegions
from epsam.core.files import whole_file, write_table, write_text
from epsam.data.images import Rgb, write_jpeg
from epsam.extraction.discovery import SlideRecord
from epsam.inference.progress import PhaseTimer
from epsam.inference.pyramid_bands import read_bands
from epsam.inference.region_table import region_rows
from epsam.inference.streaming import ClassifiedTile, SlideInference
from epsam.inference.tiling import TileGrid
from epsam.pictures.slide_overlay import draw_slide_overlay
from epsam.tables import REGION_COLUMNS, TILE_COLUMNS
from epsam.wsi.slide import Slide
from epsam.wsi.tissue import TissueMask
from epsam.wsi.writer import Pixels, PyramidFormat, regroup_bands, write_pyramid

PROBABILITY_FORMAT = PyramidFormat(compression="deflate")
# A mean of mask pixels would be neither 0 nor 255.
MASK_FORMAT = PyramidFormat(compression="deflate", average=False)

PROBABILITY_FILE = "probability.tif"
MASK_FILE = "mask.tif"
CONTOUR_FILE = "tumour.geojson"
PACKED_CONTOUR_FILE = "tumour.geojson.gz"


@dataclass(frozen=True)
class ContourSettings:
    """What of a slide's probability is in its mask, and what of the mask is outlined.

    min_region: smaller regions and holes are left out of the mask and the contours, µm².
    min_outline: smaller regions are left out of the contours alone, µm². asap: write contours as
    ASAP XML, too. mask_threshold: the probability above which a pixel is tumour. geojson_gzip:
    write contours as a gzipped file.
    """

    min_region: float = 0.0
    min_outline: float = 0.0
    asap: bool = False
    mask_threshold: float = 0.5
    geojson_gzip: bool = False

    @property
    def min_tumour_value(self) -> int:
        """The least value of probability.tif that is tumour: 128 for 0.5.

        The file rounds to 255ths, so that other thresholds hold up to half of one.
        """
        return max(1, math.floor(self.mask_threshold * 255 - 0.5) + 1)


@dataclass(frozen=True)
class MaskContent:
    """Pixels of a mask, those of them that lie on tissue, and the contours of its regions."""

    tumour_px: int
    tumour_on_tissue_px: int
    rings: list[Ring]


def write_probability(
    path: Path, inference: SlideInference, clip_tissue: TissueMask | None
) -> None:
    """Segment the slide and write its probability band by band, 0 to 255.

    With `clip_tissue`, it is 0 wherever there is none of this tissue.
    """
    grid = inference.grid
    bands = inference.bands()
    if clip_tissue is not None:
        bands = clip_bands(bands, clip_tissue, grid.scale)
    bands = regroup_bands(bands, PROBABILITY_FORMAT.tile)
    with inference.timer.phase("write"):
        write_pyramid(
            path,
            _pause_writing(bands, inference.timer),
            (grid.height, grid.width),
            grid.mpp,
            PROBABILITY_FORMAT,
        )


def clip_bands(bands: Iterator[Pixels], tissue: TissueMask, scale: float) -> Iterator[Pixels]:
    """Row bands (rows, width) from top to bottom, set to 0 wherever there is no tissue."""
    top = 0
    for band in bands:
        is_tissue = tissue.resample(top, (len(band), band.shape[1]), scale)
        yield np.where(is_tissue, band, 0).astype(band.dtype)
        top += len(band)


def _pause_writing(bands: Iterator[Pixels], timer: PhaseTimer) -> Iterator[Pixels]:
    # The writer pulls the bands, so that the whole inference runs inside of its "write" phase.
    while True:
        with timer.phase("other"):
            band = next(bands, None)
        if band is None:
            return
        yield band


def write_results(
    folder: Path,
    slide: Slide,
    overview: Rgb,
    inference: SlideInference,
    tissue: TissueMask,
    settings: ContourSettings,
) -> MaskContent:
    """Write all that follows from the probability file in `folder`; returns what the mask holds."""
    grid, probability = inference.grid, folder / PROBABILITY_FILE
    small_regions = find_small_regions(probability, grid, settings)
    min_value = settings.min_tumour_value
    mask = write_mask(folder / MASK_FILE, probability, min_value, small_regions, grid, tissue)
    write_contours(folder, inference.name, mask.rings, grid, settings)
    write_overlay(folder / "overlay.jpg", slide, overview, mask.rings, grid)
    tile_rows = list_tile_rows(grid, inference.classified)
    write_table(folder / "windows.csv", TILE_COLUMNS, tile_rows)
    return mask


def find_small_regions(
    probability: Path, grid: TileGrid, settings: ContourSettings
) -> SmallRegions:
    """Regions and holes of a probability file that are too small for the mask."""
    tracer = ContourTracer(grid.width)
    if settings.min_region:
        for band in read_bands(probability):
            tracer.add(band >= settings.min_tumour_value)
    return SmallRegions(tracer.trace_rings(), settings.min_region / grid.mpp**2)


def write_mask(
    path: Path,
    probability: Path,
    min_value: int,
    small_regions: SmallRegions,
    grid: TileGrid,
    tissue: TissueMask,
) -> MaskContent:
    """Write the mask of a probability file without its small regions, 0 and 255; tumour is what
    has at least `min_value` there.
    """
    # The bands are read back and written one by one: a slide's mask may not fit into memory.
    tumour_px = tumour_on_tissue_px = 0
    tracer = ContourTracer(grid.width)

    def mask_bands() -> Iterator[Pixels]:
        nonlocal tumour_px, tumour_on_tissue_px
        top = 0
        for band in read_bands(probability):
            tumour = small_regions.remove_from(band >= min_value, top)
            on_tissue = tumour & tissue.resample(top, (len(band), band.shape[1]), grid.scale)
            tumour_px += int(np.count_nonzero(tumour))
            tumour_on_tissue_px += int(np.count_nonzero(on_tissue))
            tracer.add(tumour)
            top += len(band)
            yield tumour.astype(np.uint8) * 255

    write_pyramid(path, mask_bands(), (grid.height, grid.width), grid.mpp, MASK_FORMAT)
    return MaskContent(tumour_px, tumour_on_tissue_px, tracer.trace_rings())


def write_contours(
    folder: Path, slide: str, rings: Sequence[Ring], grid: TileGrid, settings: ContourSettings
) -> None:
    """Write tumour.geojson, perhaps gzipped, and, if set, tumour.xml, both in level-0 pixels, and
    regions.csv.
    """
    outlined = leave_out_small_regions(rings, settings.min_outline / grid.mpp**2)
    name = PACKED_CONTOUR_FILE if settings.geojson_gzip else CONTOUR_FILE
    with whole_file(folder / name) as path:
        pieces = format_geojson(outlined, grid.scale, grid.mpp, slide)
        write_geojson(path, pieces, settings.geojson_gzip)
    rows = region_rows(list_regions(outlined), slide, grid, folder / PROBABILITY_FILE)
    write_table(folder / "regions.csv", REGION_COLUMNS, rows)
    if settings.asap:
        annotations = annotations_from_rings(outlined, grid.scale)
        write_text(folder / "tumour.xml", format_asap_xml(annotations))


def write_overlay(
    path: Path, slide: Slide, overview: Rgb, rings: Sequence[Ring], grid: TileGrid
) -> None:
    """Write the slide's overview with the contours and a scale bar."""
    overview_scale = overview.shape[1] / slide.width0
    contours = [ring.points_xy * (grid.scale * overview_scale) for ring in rings]
    mpp = (slide.mpp or 0.0) / overview_scale
    write_jpeg(path, draw_slide_overlay(overview, contours, mpp))


def list_tile_rows(grid: TileGrid, tiles: Sequence[ClassifiedTile]) -> Iterator[dict[str, Any]]:
    """Rows of windows.csv: level-0 corner, tissue, and probability of each classified tile."""
    for tile in tiles:
        x, y = grid.corner_px0(tile.row, tile.column)
        yield {
            "x": x,
            "y": y,
            "tissue": f"{grid.tissue[tile.row, tile.column]:.4f}",
            "probability": f"{tile.score:.6f}",
            "gated": int(tile.gated),
        }


def slide_row(
    record: SlideRecord,
    slide: Slide,
    grid: TileGrid,
    tissue: TissueMask,
    tiles: Sequence[ClassifiedTile],
    mask: MaskContent,
) -> dict[str, Any]:
    """The row of slides.csv of a slide that was segmented."""
    tissue_mm2 = _tissue_mm2(slide, tissue)
    px_mm2 = grid.mpp**2 / 1e6
    tumour_fraction = 0.0
    if tissue_mm2:
        # Mask and tissue are counted on different grids, whose borders differ by a pixel.
        tumour_fraction = min(1.0, mask.tumour_on_tissue_px * px_mm2 / tissue_mm2)

    regions = [ring.points_xy for ring in mask.rings if not ring.is_hole]
    diameter_mm = max(map(largest_diameter, regions), default=0.0) * grid.mpp / 1e3
    # The names of the columns are data, older than the names in the code.
    max_score = max((tile.score for tile in tiles), default=0.0)
    return {
        "slide": record.name,
        "status": "done",
        "mpp": f"{grid.mpp:.4f}",
        "width": grid.width,
        "height": grid.height,
        "windows": grid.n_tiles,
        "seen": len(tiles),
        "gated": sum(tile.gated for tile in tiles),
        "probability": f"{max_score:.6f}",
        "tissue_mm2": f"{tissue_mm2:.6f}",
        "tumour_mm2": f"{mask.tumour_px * px_mm2:.6f}",
        "tumour_share": f"{tumour_fraction:.6f}",
        "regions": len(regions),
        "largest_diameter_mm": f"{diameter_mm:.4f}",
    }


def _tissue_mm2(slide: Slide, tissue: TissueMask) -> float:
    px_um = tissue.downsample * (slide.mpp or 0.0)
    return float(np.count_nonzero(tissue.mask)) * px_um**2 / 1e6
