import csv
import errno
import json
import logging
import os
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import tifffile

from epsam.annotations.asap_reader import read_annotations
from epsam.annotations.polygons import Annotations, rasterize_tumour
from epsam.core.errors import DatasetError, SlideError
from epsam.core.shards import Shard
from epsam.data.images import read_rgb
from epsam.extraction import thumbnail
from epsam.extraction.discovery import SlideRecord
from epsam.inference.inputs import contains_slides, find_slides, has_ground_truth
from epsam.inference.pipeline import Gate
from epsam.inference.progress import EtaEstimator, PhaseTimer, format_duration
from epsam.inference.segment_slides import SlideSettings, segment_slides
from epsam.inference.slide_store import SlideStore
from epsam.inference.slide_tables import (
    add_scores,
    check_some_done,
    collect_rows,
    format_metrics,
    log_summary,
    score_slides,
    write_tables,
)
from epsam.pictures.panel import PREDICTED
from epsam.wsi import reader, tiff, writer
from epsam.wsi.reader import open_slide
from support.fake_tile_model import PINK, FakeTileModel, blue, draw_slide, write_lossless_slide
from support.holder import holding
from support.untimed import contents

SETTINGS = SlideSettings(
    mpp=0.5, slide_mpp=0.0, overlap=0.25, min_tissue=0.01, gate=Gate(True, 0.02)
)
TISSUE, TUMOUR = [(64, 64, 384, 320)], [(96, 96, 200, 176), (240, 250, 300, 290)]


def table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def run(slides, output, model=None, settings=SETTINGS, fingerprint="x"):
    model = model or FakeTileModel()
    store = SlideStore(output, fingerprint)
    slides = segment_slides(slides, model, settings, store)
    rows, timings = collect_rows(slides, store)
    scores, unscored = score_slides(slides, store)
    rows = add_scores(rows, scores, unscored)
    write_tables(rows, timings, scores, output)
    return model, rows


@pytest.fixture
def folder(tmp_path):
    for name in "ab":
        write_lossless_slide(
            tmp_path / "slides" / f"{name}.tif", draw_slide(400, 448, TISSUE, TUMOUR)
        )
    return tmp_path / "slides"


def test_mask_and_probability_open_elsewhere_as_lossless_pyramids_with_the_slides_pixel_size(
    folder, tmp_path
):
    run(find_slides(folder), tmp_path / "out", settings=replace(SETTINGS, gate=Gate(False, 0.5)))
    truth = blue(draw_slide(400, 448, TISSUE, TUMOUR))
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
            assert np.array_equal(page.asarray(), np.where(truth, 255, 0))
    with open_slide(tmp_path / "out" / "a" / "mask.tif") as mask:
        assert (mask.mpp, mask.width0, mask.height0) == (pytest.approx(0.5), 448, 400)


def test_the_row_of_a_slide(folder, tmp_path):
    model, rows = run(find_slides(folder), tmp_path / "out")
    row = table(tmp_path / "out" / "slides.csv")[0]
    assert (row["slide"], row["status"], row["mpp"]) == ("a", "done", "0.5000")
    assert (row["width"], row["height"]) == ("448", "400")
    assert float(row["tumour_mm2"]) == pytest.approx((104 * 80 + 60 * 40) * 0.25 / 1e6, abs=1e-6)
    assert float(row["tissue_mm2"]) == pytest.approx(320 * 256 * 0.25 / 1e6, rel=0.15)
    # All of that tumour lies on tissue.
    assert float(row["tumour_share"]) == pytest.approx((104 * 80 + 60 * 40) / (320 * 256), rel=0.15)
    assert int(row["seen"]) < int(row["windows"]) == 19 * 17
    assert model.classified == 2 * int(row["seen"])
    assert model.encoded == model.classified - 2 * int(row["gated"])
    assert [r["slide"] for r in rows] == ["a", "b"]
    assert row["regions"] == "2"
    assert 0 < float(row["seconds"]) == float(table(tmp_path / "out" / "timings.csv")[0]["seconds"])
    # The larger box is 104 × 80 px of 0.5 µm; blending rounds its corners off.
    assert float(row["largest_diameter_mm"]) == pytest.approx(
        np.hypot(104, 80) * 0.5 / 1e3, rel=0.03
    )


@pytest.mark.parametrize("clip", [True, False])
def test_what_lies_on_glass_is_no_tumour(tmp_path, clip):
    """A grey mark looks like tumour to the network; it crosses the border of the tissue, which has
    a gap, too.
    """
    image = draw_slide(400, 448, [(64, 64, 256, 320)], [(96, 96, 200, 176)])
    image[120:140, 120:140] = 100
    image[200:240, 200:400] = 100
    path = write_lossless_slide(tmp_path / "a.tif", image)
    settings = replace(SETTINGS, gate=Gate(False, 0.5), clip_to_tissue=clip)
    _, rows = run(
        [SlideRecord("a", path, None)], tmp_path / "out", FakeTileModel(tile_size=128), settings
    )
    mask = tifffile.imread(tmp_path / "out" / "a" / "mask.tif") > 0
    assert mask[96:176, 96:200].all()
    assert mask[200:240, 310:400].any() != clip
    kept = tifffile.imread(tmp_path / "out" / "a" / "probability.tif") > 127
    assert np.array_equal(kept, mask)
    assert float(rows[0]["tumour_mm2"]) == pytest.approx(mask.sum() * 0.25 / 1e6, abs=1e-6)


def test_regions_and_gaps_of_less_than_min_region_are_left_out_of_the_mask(tmp_path):
    """With 0.5 µm a pixel: a speck of 64 px is 16 µm², a gap of 100 px 25 µm², the region 2080
    µm².
    """
    image = draw_slide(400, 448, TISSUE, [TUMOUR[0], (300, 200, 308, 208)])
    image[120:130, 140:150] = PINK
    path = write_lossless_slide(tmp_path / "a.tif", image)
    model = FakeTileModel(tile_size=128)
    _, rows = run(
        [SlideRecord("a", path, None)],
        tmp_path / "out",
        model,
        replace(SETTINGS, gate=Gate(False, 0.5), min_region=30),
    )
    mask, found = (
        tifffile.imread(tmp_path / "out" / "a" / name) for name in ("mask.tif", "probability.tif")
    )
    assert np.array_equal(mask > 0, blue(draw_slide(400, 448, TISSUE, TUMOUR[:1])))
    assert np.array_equal(found > 127, blue(image))
    assert (int(rows[0]["regions"]), float(rows[0]["tumour_mm2"])) == (
        1,
        pytest.approx(104 * 80 * 0.25 / 1e6),
    )
    regions = json.loads((tmp_path / "out" / "a" / "tumour.geojson").read_text(encoding="utf-8"))[
        "features"
    ]
    assert [len(region["geometry"]["coordinates"]) for region in regions] == [1]


def test_finished_slides_are_skipped_until_something_changes(folder, tmp_path):
    slides, output = find_slides(folder), tmp_path / "out"
    run(slides, output)
    before = (output / "slides.csv").read_bytes()
    assert run(slides, output)[0].classified == 0
    assert (output / "slides.csv").read_bytes() == before
    write_lossless_slide(folder / "a.tif", draw_slide(400, 448, TISSUE, []))
    assert int(run(slides, output)[0].classified) == int(table(output / "slides.csv")[0]["seen"])
    assert run(slides, output, fingerprint="y")[0].classified > 0


def test_a_slide_of_the_same_size_and_other_content_is_not_the_finished_one(folder, tmp_path):
    slides, output = find_slides(folder / "a.tif"), tmp_path / "out"
    run(slides, output)
    assert SlideStore(output, "x").is_finished(slides[0])
    content = bytearray((folder / "a.tif").read_bytes())
    content[-1] ^= 1
    (folder / "a.tif").write_bytes(content)
    assert not SlideStore(output, "x").is_finished(slides[0])


@pytest.mark.parametrize(
    "damage",
    [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-1])],
    ids=["missing", "cut"],
)
@pytest.mark.parametrize(
    "name", ["mask.tif", "probability.tif", "tumour.geojson", "overlay.jpg", "windows.csv"]
)
def test_a_finished_slide_that_lost_a_result_is_done_again(folder, tmp_path, caplog, name, damage):
    slides, output = find_slides(folder), tmp_path / "out"
    seen = run(slides, output)[1][0]["seen"]
    before = (output / "a" / name).read_bytes()
    damage(output / "a" / name)
    with pytest.raises(
        DatasetError, match="1 of 2 slides are not there with these options, such as a"
    ):
        SlideStore(output, "x").check_complete(slides)
    assert run(slides, output)[0].classified == seen
    assert (output / "a" / name).read_bytes() == before
    assert f"{name} cut, changed or missing; the slide is done again" in caplog.text


@pytest.mark.parametrize(
    "content", [b"", b'{"slide": "a", "sec', b"[]", b"{}", b'{"seconds": "x"}', b"\xff"]
)
def test_a_damaged_file_of_seconds_is_as_none(folder, tmp_path, caplog, content):
    slides, output = find_slides(folder), tmp_path / "out"
    run(slides, output)
    before = table(output / "timings.csv")
    (output / "a" / "timings.json").write_bytes(content)
    assert run(slides, output)[0].classified == 0
    assert table(output / "timings.csv") == before[1:]
    assert [row["seconds"] for row in table(output / "slides.csv")] == ["", before[1]["seconds"]]
    assert "a/timings.json: damaged" in caplog.text


def test_one_failing_slide_does_not_stop_the_rest_and_is_tried_again(folder, tmp_path):
    (folder / "a.tif").write_bytes(b"no slide")
    write_lossless_slide(folder / "c.tif", draw_slide(400, 448, TISSUE, TUMOUR), mpp=5.0)
    slides, output = find_slides(folder), tmp_path / "out"
    rows = run(slides, output)[1]
    assert [row["status"] for row in rows] == ["failed", "done", "failed"]
    assert "not a readable TIFF" in rows[0]["reason"]
    assert "pass --slide_mpp" in rows[2]["reason"]
    assert sorted(path.name for path in output.glob("[!.]*")) == [
        "a",
        "b",
        "c",
        "slides.csv",
        "timings.csv",
    ]
    assert [path.name for path in (output / "a").iterdir()] == ["slide.json"]
    write_lossless_slide(folder / "a.tif", draw_slide(400, 448, TISSUE, TUMOUR))
    assert [row["status"] for row in run(slides, output)[1]] == ["done", "done", "failed"]
    check_some_done(rows, output)
    with pytest.raises(SlideError, match="none of 1 slides"):
        check_some_done(rows[:1], output)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError("8 GB"), "a: too little memory for it (8 GB); free some and run again"),
        (ValueError("odd"), "a: odd; check the slide and its folder of results, and run again"),
        (
            OSError(errno.EIO, "I/O error", "a.tif"),
            "a: [Errno 5] I/O error: 'a.tif'; check the slide and its folder of results, "
            "and run again",
        ),
    ],
)
def test_whatever_one_slide_dies_of_the_next_is_done(folder, tmp_path, error, reason):
    class Failing(FakeTileModel):
        def classify(self, windows):
            if not self.classified:
                self.classified = 1
                raise error
            return super().classify(windows)

    rows = run(find_slides(folder), tmp_path / "out", Failing())[1]
    assert [row["status"] for row in rows] == ["failed", "done"]
    assert rows[0]["reason"] == reason


def test_a_full_disk_stops_the_run(folder, tmp_path):
    class Full(FakeTileModel):
        def classify(self, windows):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        run(find_slides(folder), tmp_path / "out", Full())


def test_an_interrupted_slide_leaves_nothing_that_looks_finished(folder, tmp_path):
    class Broken(FakeTileModel):
        def encode(self, windows):
            raise KeyboardInterrupt

    slides, output = find_slides(folder), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(slides, output, Broken())
    assert [path.name for path in output.iterdir()] == [".locks"]
    assert run(slides, output)[1][0]["status"] == "done"


def test_a_slide_at_which_another_run_works_is_left_to_it(folder, tmp_path, caplog):
    slides, output = find_slides(folder), tmp_path / "out"
    staging = output / ".a.part"
    staging.mkdir(parents=True)
    with caplog.at_level("INFO"), holding(output / ".locks" / "a") as other:
        rows = run(slides, output)[1]
    assert [(row["slide"], row["status"]) for row in rows] == [("b", "done")]
    assert staging.is_dir(), "the other run writes there"
    assert not (output / "a").exists()
    assert f"process {other.pid} on" in caplog.text
    assert (
        "1 slides are left to the other run, not in the tables: a; once it has ended, --merge"
        in caplog.text
    )
    assert [row["slide"] for row in run(slides, output)[1]] == ["a", "b"]


def test_a_slide_that_the_other_run_ends_meanwhile_is_in_the_tables(folder, tmp_path):
    slides, output = find_slides(folder), tmp_path / "out"
    run(slides, output)
    with holding(output / ".locks" / "a"):
        assert [row["slide"] for row in run(slides, output)[1]] == ["a", "b"]


def test_a_slide_without_tissue_has_an_empty_mask(tmp_path):
    write_lossless_slide(tmp_path / "s" / "white.tif", draw_slide(300, 200, [], []))
    model, rows = run(find_slides(tmp_path / "s"), tmp_path / "out")
    assert (model.classified, rows[0]["seen"], rows[0]["tumour_share"]) == (0, 0, "0.000000")
    assert not tifffile.imread(tmp_path / "out" / "white" / "mask.tif").any()


def test_time_is_told_by_part(folder, tmp_path, caplog):
    slides, output = find_slides(folder), tmp_path / "out"
    run(slides, output)
    with caplog.at_level(logging.INFO):
        log_summary(*collect_rows(slides, SlideStore(output, "x")), output)
    assert "tiles a second: decode " in caplog.text
    timing = json.loads((output / "a" / "timings.json").read_text())
    parts = sum(
        value
        for name, value in timing.items()
        if name not in ("slide", "seconds", "windows_per_second")
    )
    assert parts == pytest.approx(timing["seconds"], abs=0.01)


def test_each_slide_that_was_done_now_tells_how_much_is_left(folder, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(PhaseTimer, "total", lambda timer: 90.0)
    run(find_slides(folder / "b.tif"), tmp_path / "out")
    for name in "de":
        write_lossless_slide(folder / f"{name}.tif", draw_slide(100, 90, [(10, 10, 80, 80)], []))
    (folder / "c.tif").write_bytes(b"no slide")
    with caplog.at_level(logging.INFO):
        run(find_slides(folder), tmp_path / "out")
    assert [line for line in caplog.messages if "done in" in line] == [
        "a: done in 90 s, 1/5 slides, about 4 min left",
        "d: done in 90 s, 4/5 slides, about 2 min left",
        "e: done in 90 s, 5/5 slides",
    ]


def test_time_left_goes_by_the_slides_that_were_done():
    eta = EtaEstimator("abcd")
    for name, seconds in (("a", 20.0), ("b", None), ("c", 30.0)):
        eta.slide_ended(name, seconds)
    assert eta.time_left() == "25 s"
    # A quarter of the last slide took 3 s.
    assert eta.time_left(3.0, 0.25) == "9 s"
    assert [format_duration(seconds) for seconds in (59, 60, 3_599, 12_030)] == [
        "59 s",
        "1 min",
        "1 h 0 min",
        "3 h 20 min",
    ]


def test_before_a_slide_is_done_the_first_ones_pace_counts_for_all():
    """A quarter in 3 s: 9 s more, and twice 12 s for the others."""
    assert EtaEstimator("abc").time_left(3.0, 0.25) == "33 s"


def test_figures_that_nothing_counts_for_are_not_told():
    assert format_metrics({"scored": 0, "mean_dice": None, "iou": 0.5}) == "scored 0  iou 0.5"


def test_the_bar_counts_the_windows_that_are_seen(folder, tmp_path, monkeypatch):
    bars = []

    class Bar:
        disable = True

        def __init__(self, total, **_):
            self.total, self.steps = total, []
            self.update = self.steps.append
            bars.append(self)

        def close(self):
            pass

    monkeypatch.setattr("epsam.inference.progress.tqdm", Bar)
    rows = run(find_slides(folder), tmp_path / "out")[1]
    assert [(bar.total, sum(bar.steps)) for bar in bars] == [
        (row["seen"], row["seen"]) for row in rows
    ]
    assert all(len(bar.steps) > 1 for bar in bars)


def test_a_part_within_another_counts_for_itself():
    times = iter([0.0, 1.0, 3.0, 6.0, 10.0, 15.0])
    timer = PhaseTimer(lambda: next(times))
    with timer.phase("write"), timer.phase("read"):
        pass
    assert timer.total() == 15.0
    assert {name: value for name, value in timer.seconds.items() if value} == {
        "other": 6.0,
        "write": 6.0,
        "read": 3.0,
    }


def test_slides_are_told_from_images_by_the_file(tmp_path):
    write_lossless_slide(tmp_path / "tiled" / "a.tif", draw_slide(40, 40, [], []))
    tifffile.imwrite(tmp_path / "a.tif", draw_slide(40, 40, [], []), photometric="rgb")
    assert contains_slides(tmp_path / "tiled")
    assert contains_slides(tmp_path / "a.tif")
    assert contains_slides(tmp_path), "folders below are searched too"
    (tmp_path / "plain").mkdir()
    (tmp_path / "a.tif").rename(tmp_path / "plain" / "a.tif")
    assert not contains_slides(tmp_path / "plain")
    (tmp_path / "tiled" / "image").mkdir()
    assert not contains_slides(tmp_path / "tiled")


def test_slides_of_a_dataset_come_with_their_truth_and_without_earlier_results(tmp_path):
    for name in ("images/tumor_1", "images/normal_002", "images/deeper/other", "images/out/x/mask"):
        write_lossless_slide(tmp_path / f"{name}.tif", draw_slide(40, 40, [], []))
    (tmp_path / "images" / "out" / "x" / "slide.json").touch()
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "tumor_001.xml").write_text("<ASAP_Annotations/>")
    found = find_slides(tmp_path)
    assert [(record.name, has_ground_truth(record)) for record in found] == [
        ("normal_002", True),
        ("other", False),
        ("tumor_001", True),
    ]
    single = find_slides(tmp_path / "images" / "tumor_1.tif")
    assert [(record.name, has_ground_truth(record)) for record in single] == [("tumor_001", True)]
    with pytest.raises(DatasetError, match="no slide in it"):
        find_slides(tmp_path / "images" / "out")


def test_two_slides_of_one_name_fail_by_name(tmp_path):
    for name in ("a", "again/a"):
        write_lossless_slide(tmp_path / "s" / f"{name}.tif", draw_slide(40, 40, [], []))
    rows = run(find_slides(tmp_path / "s"), tmp_path / "out")[1]
    assert "2 slides of this name" in rows[0]["reason"]


def test_a_slide_that_does_not_tell_its_pixel_size_takes_the_given_one(tmp_path):
    path = write_lossless_slide(
        tmp_path / "a.tif", draw_slide(200, 200, [(0, 0, 200, 200)], [(50, 50, 90, 90)]), mpp=5.0
    )
    settings = SlideSettings(
        mpp=0.5, slide_mpp=0.25, overlap=0.25, min_tissue=0.0, gate=Gate(False, 0.5)
    )
    rows = run([SlideRecord("a", path, None)], tmp_path / "out", settings=settings)[1]
    assert (rows[0]["mpp"], rows[0]["width"]) == ("0.5000", 100)


@pytest.mark.parametrize("mpp", [0.5, 1.0])
def test_outlines_are_the_masks_at_level_0(folder, tmp_path, mpp):
    slides, output = find_slides(folder / "a.tif"), tmp_path / "out"
    run(slides, output, settings=replace(SETTINGS, mpp=mpp, asap=True))
    mask = tifffile.imread(output / "a" / "mask.tif") > 0
    features = json.loads((output / "a" / "tumour.geojson").read_text("utf-8"))["features"]
    rings = [
        np.array(ring[:-1]) for feature in features for ring in feature["geometry"]["coordinates"]
    ]
    for outlines in (Annotations(rings), read_annotations(output / "a" / "tumour.xml")):
        found = rasterize_tumour(outlines, 0, 0, mask.shape[1], mask.shape[0], mpp / 0.5)
        assert (found & mask).sum() / (found | mask).sum() > 0.98
    assert len(features) == 2
    low, high = np.concatenate(rings).min(axis=0), np.concatenate(rings).max(axis=0)
    assert np.abs([*low, *high] - np.array([96, 96, 300, 290])).max() <= 2


def test_every_result_is_on_the_disk_before_the_slide_counts_as_done(folder, tmp_path, monkeypatch):
    flushed = set()
    monkeypatch.setattr(os, "fsync", lambda number: flushed.add(os.fstat(number).st_ino))
    run(find_slides(folder / "a.tif"), tmp_path / "out", settings=replace(SETTINGS, asap=True))
    assert [
        path.name
        for path in (tmp_path / "out" / "a").iterdir()
        if path.stat().st_ino not in flushed
    ] == []


def test_the_overlay_shows_the_outlines(folder, tmp_path):
    run(find_slides(folder / "a.tif"), tmp_path / "out")
    shown = read_rgb(tmp_path / "out" / "a" / "overlay.jpg")
    assert shown.shape == (400, 448, 3)
    assert np.abs(shown[96, 150].astype(int) - PREDICTED).max() < 90
    assert np.abs(shown[140, 330].astype(int) - PINK).max() < 30
    assert not (tmp_path / "out" / "a" / "tumour.xml").exists()


def test_other_libraries_open_the_pyramids(folder, tmp_path):
    openslide = pytest.importorskip("openslide")
    run(find_slides(folder / "a.tif"), tmp_path / "out")
    for name in ("mask.tif", "probability.tif"):
        with openslide.OpenSlide(str(tmp_path / "out" / "a" / name)) as file:
            assert file.level_dimensions == ((448, 400), (224, 200))
            assert float(file.properties["tiff.XResolution"]) == pytest.approx(20000)
            red = np.asarray(file.read_region((0, 0), 0, (448, 400)))[:, :, 0]
        assert np.array_equal(red, tifffile.imread(tmp_path / "out" / "a" / name))


def test_three_shards_and_a_merge_leave_byte_for_byte_what_one_run_leaves(folder, tmp_path):
    for name in ("c", "d", "e"):
        write_lossless_slide(
            folder / f"{name}.tif", draw_slide(100, 90, [(10, 10, 80, 80)], [(20, 20, 60, 50)])
        )
    (folder / "broken.tif").write_bytes(b"no slide")
    slides = find_slides(folder)
    run(slides, tmp_path / "one")
    parts = [
        [slide for slide in slides if Shard(number, 3).holds(slide.name)] for number in (1, 2, 3)
    ]
    assert all(len(part) < len(slides) for part in parts)
    for part in parts:
        segment_slides(part, FakeTileModel(), SETTINGS, SlideStore(tmp_path / "three", "x"))
    SlideStore(tmp_path / "three", "x").check_complete(slides)
    write_tables(*collect_rows(slides, SlideStore(tmp_path / "three", "x")), [], tmp_path / "three")
    assert contents(tmp_path / "three") == contents(tmp_path / "one")


def test_a_merge_names_slides_that_lack_or_came_from_other_options(folder, tmp_path):
    slides, output = find_slides(folder), tmp_path / "out"
    run(slides[:1], output)
    with pytest.raises(
        DatasetError, match="1 of 2 slides are not there with these options, such as b"
    ):
        SlideStore(output, "x").check_complete(slides)
    with pytest.raises(DatasetError, match="1 of 1 slides"):
        SlideStore(output, "y").check_complete(slides[:1])


def outline(path, *boxes):
    path.parent.mkdir(parents=True, exist_ok=True)
    shapes = ""
    for left, top, right, bottom in boxes:
        corners = ((left, top), (right, top), (right, bottom), (left, bottom))
        points = "".join(f'<Coordinate X="{x}" Y="{y}"/>' for x, y in corners)
        shapes += (
            f'<Annotation PartOfGroup="Tumor"><Coordinates>{points}</Coordinates></Annotation>'
        )
    path.write_text(f"<ASAP_Annotations><Annotations>{shapes}</Annotations></ASAP_Annotations>")


def test_truth_gives_overlap_lesions_and_windows(tmp_path):
    """One lesion is found whole and one is missed; on the other slide there is one false find."""
    found, missed = (64, 64, 704, 704), (1000, 200, 1640, 840)
    write_lossless_slide(
        tmp_path / "images" / "t.tif", draw_slide(1000, 1700, [(0, 0, 1700, 1000)], [found])
    )
    write_lossless_slide(
        tmp_path / "images" / "normal_1.tif",
        draw_slide(1000, 1000, [(0, 0, 1000, 1000)], [(400, 400, 600, 600)]),
    )
    write_lossless_slide(
        tmp_path / "images" / "unknown.tif",
        draw_slide(100, 100, [(0, 0, 100, 100)], [(20, 20, 60, 60)]),
    )
    outline(tmp_path / "annotations" / "t.xml", found, missed)
    settings, output = replace(SETTINGS, gate=Gate(False, 0.5)), tmp_path / "out"
    run(find_slides(tmp_path), output, FakeTileModel(tile_size=128), settings)
    rows = {row["slide"]: row for row in table(output / "slides.csv")}
    assert float(rows["t"]["dice"]) == pytest.approx(2 / 3, abs=1e-4)
    assert float(rows["t"]["iou"]) == pytest.approx(1 / 2, abs=1e-4)
    assert rows["normal_001"]["dice"] == rows["unknown"]["dice"] == ""
    figures = json.loads((output / "summary.json").read_text())
    assert (figures["scored"], figures["with_tumour"], figures["lesions"]) == (2, 1, 2)
    assert figures["mean_dice"] == figures["pooled_dice"] == pytest.approx(2 / 3, abs=1e-4)
    assert figures["froc_0.5"] == figures["froc_8"] == 0.5
    assert table(output / "froc.csv")[-1] == {
        "threshold": "1.000000",
        "false_finds_per_slide": "0.500000",
        "sensitivity": "0.500000",
    }
    windows = table(output / "t" / "windows.csv")
    scores, labels = [], []
    for row in windows:
        x, y = int(row["x"]), int(row["y"])
        shares = [
            max(0, min(x + 128, r) - max(x, a)) * max(0, min(y + 128, b) - max(y, c)) / 128**2
            for a, c, r, b in (found, missed)
        ]
        if not sum(shares) or sum(shares) >= 0.2:
            scores.append(float(row["probability"]))
            labels.append(sum(shares) > 0)
    for row in table(output / "normal_001" / "windows.csv"):
        scores.append(float(row["probability"]))
        labels.append(False)
    pairs = [
        (a > b) + (a == b) / 2
        for a, la in zip(scores, labels, strict=True)
        if la
        for b, lb in zip(scores, labels, strict=True)
        if not lb
    ]
    assert figures["patch_auroc"] == pytest.approx(np.mean(pairs), abs=1e-5)


def test_outlines_that_cannot_be_read_are_told_and_the_slide_is_not_scored(tmp_path, caplog):
    write_lossless_slide(
        tmp_path / "images" / "t.tif", draw_slide(100, 100, [(0, 0, 100, 100)], [(20, 20, 60, 60)])
    )
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "t.xml").write_text("<ASAP_Annotations>")
    rows = run(find_slides(tmp_path), tmp_path / "out")[1]
    assert rows[0]["status"] == "done"
    assert "not scored" in caplog.text
    assert rows[0]["reason"].startswith("not scored: ")
    assert not (tmp_path / "out" / "summary.json").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("windows.csv", b"x,y,tissue,probability,gated\n1,one,1,1,0\n"),
        ("windows.csv", None),
        ("probability.tif", b"cut"),
        ("mask.tif", b"cut"),
    ],
)
def test_results_that_were_changed_by_hand_are_not_scored_and_the_others_are(
    folder, tmp_path, name, content
):
    for slide in "ab":
        outline(folder / "annotations" / f"{slide}.xml", *TUMOUR)
    slides, output = find_slides(folder), tmp_path / "out"
    run(slides, output)
    (output / "a" / name).unlink()
    if content:
        (output / "a" / name).write_bytes(content)
    scores, unscored = score_slides(slides, SlideStore(output, "x"))
    assert [score.slide for score in scores] == ["b"]
    assert list(unscored) == ["a"]
    assert unscored["a"].startswith("not scored: ")
    assert "\n" not in unscored["a"]


def peak_of(slides, output):
    tracemalloc.start()
    run(slides, output, FakeTileModel(tile_size=64))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_height_of_a_slide(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "TILE_CACHE_BYTES", 1 << 18)
    monkeypatch.setattr(reader, "_STRIP_PX", 1 << 17)
    monkeypatch.setattr(thumbnail, "SIDE", 128)
    monkeypatch.setattr(writer, "BUFFER_BYTES", 1 << 17)
    peaks = []
    for name, height in (("warm", 256), ("low", 512), ("high", 4096)):
        image = draw_slide(height, 256, [(0, 0, 256, height)], [(40, 60, 200, 200)])
        path = write_lossless_slide(tmp_path / name / f"{name}.tif", image, levels=5)
        peaks.append(peak_of(find_slides(path), tmp_path / "out"))
    assert peaks[2] < 1.3 * peaks[1]
