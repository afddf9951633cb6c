"""Regions as GeoJSON that QuPath opens: drag the file onto the slide."""

import json
from collections.abc import Iterator, Sequence

import numpy as np

from epsam.annotations.asap_reader import Polygon
from epsam.annotations.contours import Ring, rings_by_parent, signed_area

COLOUR = (200, 0, 0)


def format_geojson(rings: Sequence[Ring], scale: float, mpp: float) -> Iterator[str]:
    """The text in pieces: a feature for each region, a polygon with its holes, in level-0 pixels.

    A pixel of the rings' mask spans `scale` level-0 pixels and `mpp` µm. Areas are in µm².
    """
    holes = rings_by_parent(rings)
    yield '{"type": "FeatureCollection", "features": ['
    separator = "\n"
    for number, ring in enumerate(rings):
        if not ring.is_hole:
            feature = _feature([ring, *holes.get(number, [])], scale, mpp)
            yield separator + json.dumps(feature, ensure_ascii=False)
            separator = ",\n"
    yield "\n]}\n"


def _feature(rings: Sequence[Ring], scale: float, mpp: float) -> dict[str, object]:
    """A region: its outer ring, then its holes."""
    area = sum(signed_area(ring.points_xy) for ring in rings) * mpp**2
    return {
        "type": "Feature",
        "geometry": {
            "type": "Polygon",
            "coordinates": [_closed(ring.points_xy * scale) for ring in rings],
        },
        "properties": {
            "objectType": "annotation",
            "classification": {"name": "Tumor", "color": list(COLOUR)},
            "measurements": {"Area µm^2": round(area, 2)},
        },
    }


def _closed(points_xy: Polygon) -> list[list[float]]:
    rounded = np.round(points_xy, 2)
    closed: list[list[float]] = np.concatenate([rounded, rounded[:1]]).tolist()
    return closed
