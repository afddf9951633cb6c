"""The result files of a slide, with a model that answers from colour alone."""

import gzip
import json
import os
from dataclasses import replace

import numpy as np
import openslide
import pytest
import tifffile

from epsam.annotations.asap_reader import read_annotations
from epsam.annotations.polygons import Annotations, rasterize_tumour
from epsam.data.images import read_rgb
from epsam.extraction.discovery import SlideRecord
from epsam.inference.inputs import find_slides
from epsam.inference.slide_files import ContourSettings
from epsam.inference.tile_model import Gate
from epsam.pictures.panel import PREDICTED
from epsam.view.outlines import read_rings
from epsam.wsi.reader import open_slide
from support.fake_tile_model import PINK, FakeTileModel, blue, draw_slide, write_lossless_slide
from support.slide_runs import SETTINGS, TISSUE, TUMOUR, segment_all
from support.tables import read_rows


def test_mask_and_probability_open_elsewhere_as_lossless_pyramids_with_the_slides_pixel_size(
    slide_folder, tmp_path
):
    segment_all(
        find_slides(slide_folder),
        tmp_path / "out",
        settings=replace(SETTINGS, gate=Gate(False, 0.5)),
    )
    is_tumour = blue(draw_slide(400, 448, TISSUE, TUMOUR))
    for name in ("mask.tif", "probability.tif"):
        with tifffile.TiffFile(tmp_path / "out" / "a" / name) as tif:
            assert [level.shape for level in tif.series[0].levels] == [(400, 448), (200, 224)]
            page = tif.pages[0]
            assert (page.is_tiled, page.dtype, page.compression.name) == (
                True,
                np.uint8,
                "ADOBE_DEFLATE",
            )
            per_cm = page.tags["XResolution"].value[0] / page.tags["XResolution"].value[1]
            assert (1e4 / per_cm, int(page.tags["ResolutionUnit"].value)) == (pytest.approx(0.5), 3)
            assert np.array_equal(page.asarray(), np.where(is_tumour, 255, 0))
    with open_slide(tmp_path / "out" / "a" / "mask.tif") as mask:
        assert (mask.mpp, mask.width0, mask.height0) == (pytest.approx(0.5), 448, 400)


@pytest.mark.parametrize("clip", [True, False])
def test_glass_is_not_tumour_if_it_is_clipped(tmp_path, clip):
    """A grey mark looks like tumour to the model; it crosses the border of the tissue, which has
    a gap, too.
    """
    image = draw_slide(400, 448, [(64, 64, 256, 320)], [(96, 96, 200, 176)])
    image[120:140, 120:140] = 100
    image[200:240, 200:400] = 100
    path = write_lossless_slide(tmp_path / "a.tif", image)
    settings = replace(SETTINGS, gate=Gate(False, 0.5), clip_to_tissue=clip)
    _, rows = segment_all(
        [SlideRecord("a", path, None)], tmp_path / "out", FakeTileModel(tile_size=128), settings
    )
    mask = tifffile.imread(tmp_path / "out" / "a" / "mask.tif") > 0
    assert mask[96:176, 96:200].all()
    assert mask[200:240, 310:400].any() != clip
    probability = tifffile.imread(tmp_path / "out" / "a" / "probability.tif") > 127
    assert np.array_equal(probability, mask)
    assert float(rows[0]["tumour_mm2"]) == pytest.approx(mask.sum() * 0.25 / 1e6, abs=1e-6)


def test_regions_and_holes_smaller_than_min_region_are_left_out_of_the_mask(tmp_path):
    """With 0.5 µm a pixel: a region of 64 px is 16 µm², a hole of 100 px 25 µm², the region 2080
    µm².
    """
    image = draw_slide(400, 448, TISSUE, [TUMOUR[0], (300, 200, 308, 208)])
    image[120:130, 140:150] = PINK
    path = write_lossless_slide(tmp_path / "a.tif", image)
    model = FakeTileModel(tile_size=128)
    _, rows = segment_all(
        [SlideRecord("a", path, None)],
        tmp_path / "out",
        model,
        replace(SETTINGS, gate=Gate(False, 0.5), contours=ContourSettings(min_region=30)),
    )
    mask, probability = (
        tifffile.imread(tmp_path / "out" / "a" / name) for name in ("mask.tif", "probability.tif")
    )
    assert np.array_equal(mask > 0, blue(draw_slide(400, 448, TISSUE, TUMOUR[:1])))
    assert np.array_equal(probability > 127, blue(image))
    assert (int(rows[0]["regions"]), float(rows[0]["tumour_mm2"])) == (
        1,
        pytest.approx(104 * 80 * 0.25 / 1e6),
    )
    regions = json.loads((tmp_path / "out" / "a" / "tumour.geojson").read_text(encoding="utf-8"))[
        "features"
    ]
    assert [len(region["geometry"]["coordinates"]) for region in regions] == [1]


@pytest.mark.parametrize(
    ("threshold", "value"), [(0.5, 128), (0.1, 26), (0.9, 230), (0.0, 1), (1.0, 255)]
)
def test_a_pixel_is_tumour_above_the_threshold_as_the_file_rounds_it(threshold, value):
    """Values are ⌈255 p − ½⌉."""
    assert ContourSettings(mask_threshold=threshold).min_tumour_value == value


def test_small_regions_have_no_outline_but_stay_in_the_mask_and_outlines_match_the_table(tmp_path):
    """With 0.5 µm a pixel: a region of 64 px is 16 µm², one of 104 × 80 px, less a hole of 100 px,
    2055 µm².
    """
    image = draw_slide(400, 448, TISSUE, [TUMOUR[0], (300, 200, 308, 208)])
    image[120:130, 140:150] = PINK
    path = write_lossless_slide(tmp_path / "a.tif", image)
    settings = replace(
        SETTINGS, gate=Gate(False, 0.5), contours=ContourSettings(min_outline=30, asap=True)
    )
    _, rows = segment_all(
        [SlideRecord("a", path, None)], tmp_path / "out", FakeTileModel(tile_size=128), settings
    )
    folder = tmp_path / "out" / "a"
    assert np.array_equal(tifffile.imread(folder / "mask.tif") > 0, blue(image))
    assert int(rows[0]["regions"]) == 2

    (feature,) = json.loads((folder / "tumour.geojson").read_text("utf-8"))["features"]
    (row,) = read_rows(folder / "regions.csv")
    # The hole stays, however small it is.
    assert len(feature["geometry"]["coordinates"]) == 2
    assert (feature["id"], feature["properties"]["name"]) == (row["id"], f"region {row['region']}")
    assert feature["properties"]["measurements"]["Area µm^2"] == float(row["area_um2"])
    # Contours cut each corner by an eighth of a pixel: four of the region, four of the hole.
    assert float(row["area_um2"]) == pytest.approx((104 * 80 - 100) * 0.25, abs=0.5)
    assert float(row["perimeter_um"]) == pytest.approx(2 * (104 + 80) * 0.5, abs=2)
    # The model is certain of every tumour pixel.
    assert float(row["mean_probability"]) == 1
    assert (int(row["x"]), int(row["y"])) == (96 + 104 // 2, 96 + 80 // 2)
    assert 'Annotation Name="region 1"' in (folder / "tumour.xml").read_text()


@pytest.mark.parametrize("mpp", [0.5, 1.0])
def test_contours_enclose_the_mask_at_level_0(slide_folder, tmp_path, mpp):
    slides, output = find_slides(slide_folder / "a.tif"), tmp_path / "out"
    segment_all(
        slides, output, settings=replace(SETTINGS, mpp=mpp, contours=ContourSettings(asap=True))
    )
    mask = tifffile.imread(output / "a" / "mask.tif") > 0
    features = json.loads((output / "a" / "tumour.geojson").read_text("utf-8"))["features"]
    rings = [
        np.array(ring[:-1]) for feature in features for ring in feature["geometry"]["coordinates"]
    ]
    for annotations in (Annotations(rings), read_annotations(output / "a" / "tumour.xml")):
        enclosed = rasterize_tumour(annotations, 0, 0, mask.shape[1], mask.shape[0], mpp / 0.5)
        assert (enclosed & mask).sum() / (enclosed | mask).sum() > 0.98
    assert len(features) == 2
    low, high = np.concatenate(rings).min(axis=0), np.concatenate(rings).max(axis=0)
    assert np.abs([*low, *high] - np.array([96, 96, 300, 290])).max() <= 2


def test_every_result_is_on_the_disk_before_the_slide_counts_as_done(
    slide_folder, tmp_path, monkeypatch
):
    flushed = set()
    monkeypatch.setattr(os, "fsync", lambda number: flushed.add(os.fstat(number).st_ino))
    segment_all(
        find_slides(slide_folder / "a.tif"),
        tmp_path / "out",
        settings=replace(SETTINGS, contours=ContourSettings(asap=True)),
    )
    assert [
        path.name
        for path in (tmp_path / "out" / "a").iterdir()
        if path.stat().st_ino not in flushed
    ] == []


def test_the_overlay_shows_the_contours(slide_folder, tmp_path):
    segment_all(find_slides(slide_folder / "a.tif"), tmp_path / "out")
    overlay = read_rgb(tmp_path / "out" / "a" / "overlay.jpg")
    assert overlay.shape == (400, 448, 3)
    assert np.abs(overlay[96, 150].astype(int) - PREDICTED).max() < 90
    assert np.abs(overlay[140, 330].astype(int) - PINK).max() < 30
    assert not (tmp_path / "out" / "a" / "tumour.xml").exists()


def test_other_libraries_open_the_pyramids(slide_folder, tmp_path):
    segment_all(find_slides(slide_folder / "a.tif"), tmp_path / "out")
    for name in ("mask.tif", "probability.tif"):
        with openslide.OpenSlide(str(tmp_path / "out" / "a" / name)) as file:
            assert file.level_dimensions == ((448, 400), (224, 200))
            assert float(file.properties["tiff.XResolution"]) == pytest.approx(20000)
            red = np.asarray(file.read_region((0, 0), 0, (448, 400)))[:, :, 0]
        assert np.array_equal(red, tifffile.imread(tmp_path / "out" / "a" / name))


def test_gzipped_contours_hold_the_bytes_of_plain_ones(tmp_path):
    path = write_lossless_slide(tmp_path / "a.tif", draw_slide(400, 448, TISSUE, TUMOUR))
    contents = []
    for number, is_gzipped in enumerate((False, True, True)):
        settings = replace(SETTINGS, contours=ContourSettings(geojson_gzip=is_gzipped))
        segment_all(
            [SlideRecord("a", path, None)],
            tmp_path / str(number),
            FakeTileModel(tile_size=128),
            settings,
        )
        (file,) = (tmp_path / str(number) / "a").glob("tumour.geojson*")
        contents.append(file.read_bytes())
    assert file.name == "tumour.geojson.gz"
    assert contents[1] == contents[2]
    assert gzip.decompress(contents[1]) == contents[0]
    rings = [read_rings(tmp_path / name) for name in ("0/a/tumour.geojson", f"2/a/{file.name}")]
    assert len(rings[0].points_xy) > 0
    assert np.array_equal(rings[0].points_xy, rings[1].points_xy)
