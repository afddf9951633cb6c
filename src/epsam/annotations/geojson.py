"""Regions as GeoJSON that QuPath opens: drag the file onto the slide."""

import json
from collections.abc import Iterator, Sequence

import numpy as np

from epsam.annotations.contours import Ring, rings_by_parent, signed_area
from epsam.annotations.polygons import Polygon

COLOUR = (200, 0, 0)


def format_geojson(rings: Sequence[Ring], scale: float, mpp: float) -> Iterator[str]:
    """The text in pieces: a feature for each region, a polygon with its holes, in level-0 pixels.

    A pixel of the rings' mask spans `scale` level-0 pixels and `mpp` µm. Areas are in µm².
    """
    holes = rings_by_parent(rings)
    yield '{"type": "FeatureCollection", "features": ['
    separator = "\n"
    for number, ring in enumerate(rings):
        if ring.is_hole:
            continue
        feature = _region_feature([ring, *holes.get(number, [])], scale, mpp)
        yield separator + json.dumps(feature, ensure_ascii=False)
        separator = ",\n"
    yield "\n]}\n"


def _region_feature(rings: Sequence[Ring], scale: float, mpp: float) -> dict[str, object]:
    """A region as a GeoJSON feature: its outer ring, then its holes."""
    # Areas of holes are negative.
    area_um2 = sum(signed_area(ring.points_xy) for ring in rings) * mpp**2
    coordinates = [_close_ring(ring.points_xy * scale) for ring in rings]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": coordinates},
        "properties": {
            "objectType": "annotation",
            "classification": {"name": "Tumor", "color": list(COLOUR)},
            "measurements": {"Area µm^2": round(area_um2, 2)},
        },
    }


def _close_ring(points_xy: Polygon) -> list[list[float]]:
    """The corners, with the first one again at the end, as GeoJSON wants it."""
    rounded = np.round(points_xy, 2)
    closed: list[list[float]] = np.concatenate([rounded, rounded[:1]]).tolist()
    return closed
