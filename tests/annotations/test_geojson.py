import json

import numpy as np
import pytest

from epsam.annotations.asap_reader import read_annotations
from epsam.annotations.asap_writer import annotations_from_rings, format_asap_xml
from epsam.annotations.contours import ContourTracer
from epsam.annotations.geojson import format_geojson
from epsam.annotations.polygons import Annotations, rasterize_tumour


def rings_of(mask):
    tracer = ContourTracer(mask.shape[1])
    tracer.add(mask)
    return tracer.trace_rings()


def blobs(seed, shape=(90, 130)):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=shape)
    for axis in (0, 1):
        for _ in range(12):
            noise = (np.roll(noise, 1, axis) + noise + np.roll(noise, -1, axis)) / 3
    return noise > 0.02


def nested():
    """A region with a hole, in which an island with a hole of its own lies."""
    mask = np.zeros((60, 60), bool)
    for inset, value in ((4, True), (12, False), (20, True), (27, False)):
        mask[inset : 60 - inset, inset : 60 - inset] = value
    return mask


def collection(rings, scale=1.0, mpp=0.5):
    return json.loads("".join(format_geojson(rings, scale, mpp)))


def fill_polygons(features, shape, scale):
    mask = np.zeros(shape, bool)
    for feature in features:
        for ring in feature["geometry"]["coordinates"]:
            mask ^= rasterize_tumour(
                Annotations([np.array(ring[:-1])]), 0, 0, shape[1], shape[0], scale
            )
    return mask


@pytest.mark.parametrize("mask", [blobs(0), blobs(1), nested()], ids=["a", "b", "nested"])
@pytest.mark.parametrize("scale", [1.0, 2.0, 2.7])
def test_polygons_cover_the_mask(mask, scale):
    filled = fill_polygons(collection(rings_of(mask), scale)["features"], mask.shape, scale)
    assert (filled & mask).sum() / (filled | mask).sum() > 0.98


def test_features_are_closed_polygons_that_qupath_calls_tumor():
    mask = np.zeros((30, 40), bool)
    mask[5:25, 8:30] = True
    mask[10:15, 12:20] = False
    content = collection(rings_of(mask), scale=2.0, mpp=0.5)
    assert content["type"] == "FeatureCollection"
    (feature,) = content["features"]
    outer, hole = feature["geometry"]["coordinates"]
    assert feature["geometry"]["type"] == "Polygon"
    assert outer[0] == outer[-1]
    assert (min(x for x, _ in outer), max(x for x, _ in outer)) == (16, 60)
    assert (min(y for _, y in hole), max(y for _, y in hole)) == (20, 30)
    assert feature["properties"]["objectType"] == "annotation"
    assert feature["properties"]["classification"]["name"] == "Tumor"
    # Two contours with cut corners, 1/8 px² each: half a pixel less and half a pixel more.
    assert feature["properties"]["measurements"]["Area µm^2"] == pytest.approx(
        (20 * 22 - 5 * 8) * 0.25
    )


def test_an_empty_mask_has_no_features():
    assert collection([])["features"] == []


@pytest.mark.parametrize("mask", [blobs(0), blobs(2), nested()], ids=["a", "c", "nested"])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_our_reader_reads_the_asap_file_back_as_the_mask(tmp_path, mask, scale):
    (tmp_path / "a.xml").write_text(format_asap_xml(annotations_from_rings(rings_of(mask), scale)))
    filled = rasterize_tumour(
        read_annotations(tmp_path / "a.xml"), 0, 0, mask.shape[1], mask.shape[0], scale
    )
    assert (filled & mask).sum() / (filled | mask).sum() > 0.98


def pieces():
    """Two regions, one of them with two holes, single pixels inside and outside of them, and a
    diagonal touch.
    """
    mask = np.zeros((40, 50), bool)
    mask[3:20, 4:24] = True
    mask[6:12, 7:12] = mask[14, 15] = False
    mask[8, 9] = mask[1, 1] = mask[0, 49] = mask[39, 0] = True
    mask[24:30, 10:18] = mask[30:36, 18:26] = True
    return mask


@pytest.mark.parametrize("scale", [1.0, 2.7])
@pytest.mark.parametrize(
    "mask",
    [pieces(), nested(), blobs(0), np.eye(9, dtype=bool), ~np.eye(9, dtype=bool)],
    ids=["pieces", "nested", "blobs", "diagonal", "all but the diagonal"],
)
def test_another_librarys_polygons_hold_the_masks_pixels(mask, scale):
    shapely = pytest.importorskip("shapely")
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
    times = np.zeros(mask.shape, int)
    for feature in collection(rings_of(mask), scale)["features"]:
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.is_valid
        times += shapely.contains_xy(shape, columns * scale, rows * scale)
    assert times.max() == 1, "no two regions overlap"
    assert np.array_equal(times > 0, mask), "an IoU of 1, where 0.98 is promised"


def test_pixels_that_touch_at_a_corner_are_features_of_their_own():
    assert len(collection(rings_of(pieces()))["features"]) == 7


def test_other_libraries_take_the_polygons():
    shapely = pytest.importorskip("shapely")
    for mask in (blobs(3), nested()):
        shapes = [
            shapely.geometry.shape(feature["geometry"])
            for feature in collection(rings_of(mask))["features"]
        ]
        assert all(shape.is_valid for shape in shapes)
        assert sum(shape.area for shape in shapes) == pytest.approx(mask.sum(), rel=0.01)
