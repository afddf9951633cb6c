import json
import math

import numpy as np
import pytest

from epsam.core.errors import AnnotationError
from epsam.view.outlines import OutlineIndex, collect_rings, pack, read_rings, simplify
from support.viewed_results import square, write_contours

EVERYTHING = (-1e9, -1e9, 1e9, 1e9)


def rings_of(rings):
    ends = [*rings.starts.tolist()[1:], len(rings.points_xy)]
    return [
        rings.points_xy[start:end].tolist()
        for start, end in zip(rings.starts.tolist(), ends, strict=True)
    ]


def test_a_file_gives_the_rings_that_json_gives_holes_too(tmp_path):
    outer, hole, other = square(0, 0, 9.5, 9), square(2, 2, 4, 4), square(1e5 + 0.25, 7, 1e5 + 3, 9)
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": coordinates}}
        for coordinates in ([outer, hole], [other])
    ]
    content = {"type": "FeatureCollection", "features": features}
    (tmp_path / "a.geojson").write_text(json.dumps(content))
    assert rings_of(read_rings(tmp_path / "a.geojson")) == [outer, hole, other]


def test_a_slide_without_regions_has_no_rings(tmp_path):
    write_contours(tmp_path / "a.geojson", [])
    index = OutlineIndex(read_rings(tmp_path / "a.geojson"))
    assert pack(index.view(EVERYTHING, 3)) == bytes(4)


@pytest.mark.parametrize(
    "text",
    ['"coordinates": [[[1, 2], [3', '"coordinates": [[[1, 2], [3]]]', '"coordinates": [[[1, x]]]'],
)
def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path, text):
    (tmp_path / "a.geojson").write_text(text)
    with pytest.raises(AnnotationError, match=r"a\.geojson: no polygons .* run it again"):
        read_rings(tmp_path / "a.geojson")


def test_a_view_has_the_rings_that_meet_its_box():
    index = OutlineIndex(collect_rings([square(x, 0, x + 10, 10) for x in (0, 20, 40)]))
    assert len(index.view((5, 5, 22, 6), 0).starts) == 2
    assert len(index.view((11, 0, 19, 10), 0).starts) == 0
    # A ring all round the box is drawn, too: it may be that of a large region.
    assert len(index.view((41, 1, 49, 9), 0).starts) == 1
    assert len(index.view((math.nan, 0, 1, 1), 0).starts) == 0


def test_at_the_finest_detail_contours_stay_as_they_are():
    ring = [[0.5, 0], [3.5, 0.5], [4, 2.5]]
    (view,) = rings_of(OutlineIndex(collect_rings([ring])).view(EVERYTHING, 0))
    assert view == ring


def test_no_point_moves_by_more_than_a_quarter_pixel_of_the_screen():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 500, (300, 2)).cumsum(axis=0)
    index = OutlineIndex(collect_rings([points]))
    for detail in (1, 4, 7):
        (view,) = rings_of(index.view(EVERYTHING, detail))
        distances = np.abs(points[:, None] - np.array(view)[None]).max(axis=2)
        assert distances.min(axis=1).max() <= 2**detail / 4 + 0.01
        assert distances.min(axis=0).max() <= 2**detail / 4 + 0.01


def test_points_that_fall_together_are_one_and_far_regions_stay_as_dots():
    circle = np.array([[math.cos(a), math.sin(a)] for a in np.linspace(0, 2 * math.pi, 100)])
    small = [circle + center for center in ([100, 100], [100.2, 100.1], [900, 100])]
    rings = collect_rings([*small, 100 * circle + 500])
    simplified = simplify(rings, 32.0)
    # Two of the small ones are at the same place of the screen.
    lengths = sorted(simplified.lengths.tolist())
    assert lengths[:2] == [1, 1]
    assert len(lengths) == 3
    assert 8 < lengths[2] < 40


def test_packed_rings_are_their_number_lengths_and_points():
    content = pack(collect_rings([square(0, 1, 2, 3), [[5, 6], [7, 8], [9, 10]]]))
    assert np.frombuffer(content[:12], "<i4").tolist() == [2, 5, 3]
    points = np.frombuffer(content[12:], "<f4").reshape(-1, 2)
    assert points[:2].tolist() == [[0, 1], [2, 1]]
    assert points[5:].tolist() == [[5, 6], [7, 8], [9, 10]]
