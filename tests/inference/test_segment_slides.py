"""Slides one after the other: their rows, failures, progress and memory."""

import errno
import logging
import tracemalloc

import numpy as np
import pytest
import tifffile

from epsam.core.errors import SlideError
from epsam.extraction import thumbnail
from epsam.extraction.discovery import SlideRecord
from epsam.inference.inputs import find_slides
from epsam.inference.progress import PhaseTimer
from epsam.inference.segment_slides import SlideSettings
from epsam.inference.slide_tables import (
    check_some_done,
)
from epsam.inference.tile_model import Gate
from epsam.wsi import reader, tiff, writer
from support.fake_tile_model import FakeTileModel, draw_slide, write_lossless_slide
from support.slide_runs import TISSUE, TUMOUR, segment_all
from support.tables import read_rows


def test_the_row_of_a_slide_holds_its_areas_tiles_and_seconds(slide_folder, tmp_path):
    model, rows = segment_all(find_slides(slide_folder), tmp_path / "out")
    row = read_rows(tmp_path / "out" / "slides.csv")[0]
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
    assert (
        0
        < float(row["seconds"])
        == float(read_rows(tmp_path / "out" / "timings.csv")[0]["seconds"])
    )
    # The larger box is 104 × 80 px of 0.5 µm; blending rounds its corners off.
    assert float(row["largest_diameter_mm"]) == pytest.approx(
        np.hypot(104, 80) * 0.5 / 1e3, rel=0.03
    )


def test_one_failing_slide_does_not_stop_the_rest_and_is_tried_again(slide_folder, tmp_path):
    (slide_folder / "a.tif").write_bytes(b"no slide")
    write_lossless_slide(slide_folder / "c.tif", draw_slide(400, 448, TISSUE, TUMOUR), mpp=5.0)
    slides, output = find_slides(slide_folder), tmp_path / "out"
    rows = segment_all(slides, output)[1]
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
    write_lossless_slide(slide_folder / "a.tif", draw_slide(400, 448, TISSUE, TUMOUR))
    assert [row["status"] for row in segment_all(slides, output)[1]] == [
        "done",
        "done",
        "failed",
    ]
    check_some_done(rows, output)
    with pytest.raises(SlideError, match="none of 1 slides"):
        check_some_done(rows[:1], output)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError("8 GB"), "a: too little memory for it (8 GB); free some and run again"),
        (
            ValueError("odd"),
            "a: odd; check the slide and its folder of results, and run again",
        ),
        (
            OSError(errno.EIO, "I/O error", "a.tif"),
            "a: [Errno 5] I/O error: 'a.tif'; check the slide and its folder of results, "
            "and run again",
        ),
    ],
)
def test_any_error_of_a_slide_fails_that_slide_only(slide_folder, tmp_path, error, reason):
    class Failing(FakeTileModel):
        def classify(self, tiles, timer):
            if not self.classified:
                self.classified = 1
                raise error
            return super().classify(tiles, timer)

    rows = segment_all(find_slides(slide_folder), tmp_path / "out", Failing())[1]
    assert [row["status"] for row in rows] == ["failed", "done"]
    assert rows[0]["reason"] == reason


def test_a_full_disk_stops_the_run(slide_folder, tmp_path):
    class Full(FakeTileModel):
        def classify(self, tiles, timer):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        segment_all(find_slides(slide_folder), tmp_path / "out", Full())


def test_an_interrupted_slide_leaves_nothing_that_looks_finished(slide_folder, tmp_path):
    class Broken(FakeTileModel):
        def segment_passed(self, tiles, contexts, timer):
            raise KeyboardInterrupt

    slides, output = find_slides(slide_folder), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        segment_all(slides, output, Broken())
    assert [path.name for path in output.iterdir()] == [".claims"]
    assert segment_all(slides, output)[1][0]["status"] == "done"


def test_a_slide_without_tissue_has_an_empty_mask(tmp_path):
    write_lossless_slide(tmp_path / "s" / "white.tif", draw_slide(300, 200, [], []))
    model, rows = segment_all(find_slides(tmp_path / "s"), tmp_path / "out")
    assert (model.classified, rows[0]["seen"], rows[0]["tumour_share"]) == (0, 0, "0.000000")
    assert not tifffile.imread(tmp_path / "out" / "white" / "mask.tif").any()


def test_the_log_tells_the_time_left_after_each_slide_done_in_this_run(
    slide_folder, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(PhaseTimer, "total", lambda timer: 90.0)
    segment_all(find_slides(slide_folder / "b.tif"), tmp_path / "out")
    for name in "de":
        write_lossless_slide(
            slide_folder / f"{name}.tif", draw_slide(100, 90, [(10, 10, 80, 80)], [])
        )
    (slide_folder / "c.tif").write_bytes(b"no slide")
    with caplog.at_level(logging.INFO):
        segment_all(find_slides(slide_folder), tmp_path / "out")
    assert [line for line in caplog.messages if "done in" in line] == [
        "a: done in 90 s, 1/5 slides, about 4 min left",
        "d: done in 90 s, 4/5 slides, about 2 min left",
        "e: done in 90 s, 5/5 slides",
    ]


def test_the_bar_counts_the_tiles_that_are_classified(slide_folder, tmp_path, monkeypatch):
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
    rows = segment_all(find_slides(slide_folder), tmp_path / "out")[1]
    assert [(bar.total, sum(bar.steps)) for bar in bars] == [
        (row["seen"], row["seen"]) for row in rows
    ]
    assert all(len(bar.steps) > 1 for bar in bars)


def test_two_slides_of_one_name_fail_by_name(tmp_path):
    for name in ("a", "again/a"):
        write_lossless_slide(tmp_path / "s" / f"{name}.tif", draw_slide(40, 40, [], []))
    rows = segment_all(find_slides(tmp_path / "s"), tmp_path / "out")[1]
    assert "2 slides of this name" in rows[0]["reason"]


def test_a_slide_without_a_pixel_size_takes_that_of_the_settings(tmp_path):
    path = write_lossless_slide(
        tmp_path / "a.tif", draw_slide(200, 200, [(0, 0, 200, 200)], [(50, 50, 90, 90)]), mpp=5.0
    )
    settings = SlideSettings(
        mpp=0.5, slide_mpp=0.25, overlap=0.25, min_tissue=0.0, gate=Gate(False, 0.5)
    )
    rows = segment_all([SlideRecord("a", path, None)], tmp_path / "out", settings=settings)[1]
    assert (rows[0]["mpp"], rows[0]["width"]) == ("0.5000", 100)


def peak_memory(slides, output):
    tracemalloc.start()
    segment_all(slides, output, FakeTileModel(tile_size=64))
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
        peaks.append(peak_memory(find_slides(path), tmp_path / "out"))
    assert peaks[2] < 1.3 * peaks[1]
