"""Regions as GeoJSON that QuPath opens: drag the file onto the slide."""

import gzip
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from epsam.annotations.contours import Ring
from epsam.annotations.polygons import Polygon
from epsam.annotations.regions import Region, iterate_regions

COLOUR = (200, 0, 0)


def format_geojson(
    rings: Sequence[Ring], scale: float, mpp: float, slide: str = ""
) -> Iterator[str]:
    """The text in pieces: a feature for each region, a polygon with its holes, in level-0 pixels.

    A pixel of the rings' mask spans `scale` level-0 pixels and `mpp` µm. Areas are in µm². Names
    and ids of regions are those of regions.csv of the slide.
    """
    yield '{"type": "FeatureCollection", "features": ['
    separator = "\n"
    for region in iterate_regions(rings):
        feature = _region_feature(region, scale, mpp, slide)
        yield separator + json.dumps(feature, ensure_ascii=False)
        separator = ",\n"
    yield "\n]}\n"


def write_geojson(path: Path, pieces: Iterator[str], is_gzipped: bool = False) -> None:
    """Write the text piece by piece, so that memory does not hold it; gzipped, the same text has
    the same bytes at any time.
    """
    with path.open("wb") as file:
        binary: Any = file
        if is_gzipped:
            # Without the file's name and the time, which would be in its header.
            binary = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
        with io.TextIOWrapper(binary, encoding="utf-8", newline="\n") as text:
            text.writelines(pieces)


def _region_feature(region: Region, scale: float, mpp: float, slide: str) -> dict[str, object]:
    """A region as a GeoJSON feature: its outer ring, then its holes."""
    rings = [region.outer, *region.holes]
    coordinates = [_close_ring(ring.points_xy * scale) for ring in rings]
    return {
        "type": "Feature",
        "id": region.id_on(slide),
        "geometry": {"type": "Polygon", "coordinates": coordinates},
        "properties": {
            "objectType": "annotation",
            "name": region.name,
            "classification": {"name": "Tumor", "color": list(COLOUR)},
            "measurements": {"Area µm^2": round(region.area_px2 * mpp**2, 2)},
        },
    }


def _close_ring(points_xy: Polygon) -> list[list[float]]:
    """The corners, with the first one again at the end, as GeoJSON wants it."""
    rounded = np.round(points_xy, 2)
    closed: list[list[float]] = np.concatenate([rounded, rounded[:1]]).tolist()
    return closed
