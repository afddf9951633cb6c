"""regions.csv of a slide: a row for each region that its contours outline."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from epsam.annotations.polygons import rasterize_tumour
from epsam.annotations.regions import Region
from epsam.inference.pyramid_bands import read_bands
from epsam.inference.tiling import TileGrid


def region_rows(
    regions: Sequence[Region], slide: str, grid: TileGrid, probability: Path
) -> Iterator[dict[str, Any]]:
    """A row for each region: its id in tumour.geojson, area, perimeter, mean tumour probability,
    and the middle of its bounding box in level-0 pixels.
    """
    means = mean_probabilities(regions, probability)
    for region, mean in zip(regions, means.tolist(), strict=True):
        x, y = region.centre_xy
        yield {
            "region": region.number,
            "id": region.id_on(slide),
            "area_um2": f"{region.area_px2 * grid.mpp**2:.2f}",
            "perimeter_um": f"{region.perimeter_px * grid.mpp:.2f}",
            "mean_probability": f"{mean:.4f}",
            "x": round(x * grid.scale),
            "y": round(y * grid.scale),
        }


def mean_probabilities(regions: Sequence[Region], path: Path) -> npt.NDArray[np.float64]:
    """Mean tumour probability in each region (n,), from a slide's probability file."""
    sums = np.zeros(len(regions))
    counts = np.zeros(len(regions))
    lows = np.zeros((len(regions), 2), np.int64)
    highs = np.zeros((len(regions), 2), np.int64)
    for index, region in enumerate(regions):
        points = region.outer.points_xy
        lows[index] = np.floor(points.min(axis=0))
        highs[index] = np.ceil(points.max(axis=0))

    # In bands: a slide's probability may not fit into memory.
    top = 0
    for band in read_bands(path) if regions else ():
        bottom = top + len(band)
        for index in np.flatnonzero((lows[:, 1] < bottom) & (highs[:, 1] > top)).tolist():
            left, right = int(lows[index, 0]), int(highs[index, 0])
            first, last = max(int(lows[index, 1]), top), min(int(highs[index, 1]), bottom)
            inside = rasterize_tumour(regions[index].shape, left, first, right - left, last - first)
            values = band[first - top : last - top, left:right][inside]
            sums[index] += float(values.sum(dtype=np.int64))
            counts[index] += len(values)
        top = bottom
    # The file holds 0 to 255. A region has a pixel at least.
    return sums / np.maximum(counts, 1) / 255
