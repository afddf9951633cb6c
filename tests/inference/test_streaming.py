import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from epsam.inference import streaming
from epsam.inference.progress import PhaseTimer
from epsam.inference.streaming import SlideInference, prefetch
from epsam.inference.tile_model import Gate, TileResult
from epsam.inference.tiling import BandBlender, Tiling, plan_tiles, probability_to_bytes
from epsam.wsi.reader import open_slide
from epsam.wsi.tissue import TissueMask
from support.fake_tile_model import FakeTileModel, blue, draw_slide, write_lossless_slide


def make_inference(slide, model, gate=None, overlap=0.25, mpp=0.5, tissue=None):
    mask = (
        np.ones((-(-slide.height0 // 8), -(-slide.width0 // 8)), bool) if tissue is None else tissue
    )
    grid = plan_tiles(slide, TissueMask(mask, 8.0), model.tile_size, overlap, mpp)
    timer = PhaseTimer(model.phases)
    return SlideInference(slide, "a", grid, model, gate or Gate(False, 0.5), 0.01, timer)


def test_a_slide_full_of_tissue_is_blended_as_one_image_would_be(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (75, 131, 3), np.uint8)
    model = FakeTileModel()
    with open_slide(write_lossless_slide(tmp_path / "a.tif", image)) as slide:
        inference = make_inference(slide, model, overlap=0.5)
        probability = np.concatenate(list(inference.bands()))
    tiling = Tiling.over(75, 131, 32, 0.5)
    expected = tiling.blend(
        np.stack([blue(tile).astype(np.float32) for tile in tiling.crop_tiles(image)])
    )
    assert probability.shape == (75, 131)
    assert np.abs(probability - expected * 255).max() <= 0.51
    assert sorted(model.keys) == [("a", n) for n in range(len(tiling.corners_xy))]


def test_tiles_without_tissue_are_not_classified_and_gated_ones_not_encoded(tmp_path):
    image = draw_slide(96, 160, tissue=[(0, 0, 96, 96)], tumour=[(0, 0, 32, 96)])
    tissue = np.zeros((12, 20), bool)
    tissue[:, :12] = True
    model = FakeTileModel()
    with open_slide(write_lossless_slide(tmp_path / "a.tif", image)) as slide:
        inference = make_inference(slide, model, Gate(True, 0.5), overlap=0.0, tissue=tissue)
        probability = np.concatenate(list(inference.bands()))
    assert (inference.grid.n_tiles, model.classified, model.encoded) == (15, 9, 3)
    assert [number for _, number in model.keys] == [0, 5, 10], (
        "the first column is decoded, too, and nothing else"
    )
    positions = [(tile.row, tile.column) for tile in inference.classified]
    assert positions == [(row, column) for row in range(3) for column in range(3)]
    assert [tile.gated for tile in inference.classified] == [False, True, True] * 3
    assert np.array_equal(probability, np.where(blue(image), 255, 0))


class AnyOrder:
    """A tile model with nothing of EP-SAM: it takes all tiles first, and answers backwards."""

    batch_size, mpp, tile_size = 2, 0.5, 32
    phases = ("thinking",)

    def segment_tiles(self, batches, timer):
        tiles = []
        for batch in batches:
            tiles += batch
        for tile in reversed(tiles):
            with timer.phase("thinking"):
                score = float(blue(tile.image).mean())
                passed = tile.gate.passes(score)
                probability = blue(tile.image).astype(np.float32) if passed else None
            yield TileResult(tile.name, tile.number, probability, score)


def test_any_tile_model_serves_in_any_order_with_phases_of_its_own(tmp_path):
    image = draw_slide(96, 160, tissue=[(0, 0, 160, 96)], tumour=[(0, 0, 80, 50)])
    with open_slide(write_lossless_slide(tmp_path / "a.tif", image)) as slide:
        inference = make_inference(slide, AnyOrder(), Gate(True, 0.01), overlap=0.5)
        probability = np.concatenate(list(inference.bands()))
        fake = make_inference(slide, FakeTileModel(), Gate(True, 0.01), overlap=0.5)
        assert np.array_equal(probability, np.concatenate(list(fake.bands())))
    assert inference.classified == fake.classified
    assert inference.timer.seconds["thinking"] > 0
    assert "encoder" not in inference.timer.seconds


def test_the_scanner_names_no_part_of_a_method():
    source = Path(streaming.__file__).read_text("utf-8")
    for word in ("classify", "average_rotations", "encode", "decode", "SAM", "epsam.segment"):
        assert word not in source


def test_a_gated_neighbour_counts_as_zero_and_background_not_at_all(tmp_path):
    image = draw_slide(32, 56, tissue=[], tumour=[(0, 0, 32, 32)])
    with open_slide(write_lossless_slide(tmp_path / "a.tif", image)) as slide:
        everywhere = next(make_inference(slide, FakeTileModel(), Gate(True, 0.9)).bands())
        left_only = np.zeros((4, 7), bool)
        left_only[:, 0] = True
        alone = next(
            make_inference(slide, FakeTileModel(), Gate(True, 0.9), tissue=left_only).bands()
        )
    assert everywhere[16, 20] == 255
    assert everywhere[16, 30] < 128
    assert alone[16, 30] == 255


@pytest.mark.parametrize(("mpp", "levels"), [(1.0, 3), (1.0, 1), (0.5, 2), (0.8, 2), (1.005, 3)])
def test_tiles_are_read_at_the_requested_resolution_whatever_the_levels(tmp_path, mpp, levels):
    image = draw_slide(192, 320, tissue=[], tumour=[(64, 32, 192, 160)])
    with open_slide(write_lossless_slide(tmp_path / "a.tif", image, 0.5, levels)) as slide:
        inference = make_inference(slide, FakeTileModel(), mpp=mpp)
        probability = np.concatenate(list(inference.bands()))
    scale = 2.0 if mpp > 1 else mpp / 0.5
    assert probability.shape == (int(192 / scale), int(320 / scale))
    assert inference.grid.mpp == pytest.approx(0.5 * scale)
    rows, columns = np.nonzero(probability >= 128)
    edges = np.array([rows.min(), rows.max() + 1, columns.min(), columns.max() + 1]) * scale
    assert np.abs(edges - [32, 160, 64, 192]).max() <= 2 * scale


def test_a_slide_smaller_than_a_tile_is_cropped_back_to_its_size(tmp_path):
    image = draw_slide(20, 25, tissue=[], tumour=[(5, 5, 15, 15)])
    with open_slide(write_lossless_slide(tmp_path / "a.tif", image)) as slide:
        probability = np.concatenate(list(make_inference(slide, FakeTileModel()).bands()))
    assert np.array_equal(probability, np.where(blue(image), 255, 0))


def test_bytes_above_127_are_probabilities_above_a_half():
    values = np.array(
        [0.0, 0.25, 0.5, np.nextafter(np.float32(0.5), np.float32(1)), 0.51, 1.0], np.float32
    )
    assert probability_to_bytes(values.copy()).tolist() == [0, 64, 127, 128, 130, 255]


def test_rows_without_tiles_are_released_as_zeros():
    blend = BandBlender(10, 4)
    blend.add(2, np.ones((4, 4), np.float32))
    assert blend.release(3)[:, 2:6].tolist() == [[255] * 4] * 3
    assert blend.release(1).tolist() == [[0, 0, 255, 255, 255, 255, 0, 0, 0, 0]]
    assert blend.release(4).tolist() == [[0] * 10] * 4


def test_prefetched_results_come_in_order_and_only_one_is_ahead():
    started, results = [], []
    for job, result in prefetch(range(5), lambda job: started.append(job) or job * 10):
        results.append((job, result))
        assert len(started) <= job + 2
    assert results == [(0, 0), (1, 10), (2, 20), (3, 30), (4, 40)]
    assert list(prefetch([], lambda job: job)) == []


def test_prefetch_works_on_the_next_job_while_this_result_is_in_use():
    """The work on 1 ends only once 0 is being worked on, so that neither waits for the other for
    ever.
    """
    working = threading.Event()

    def work(job):
        assert job == 0 or working.wait(60)
        return job

    for job, _ in prefetch(range(2), work):
        assert job == 0 or working.is_set()
        working.set()


def test_several_threads_prefetch_at_a_time_and_results_come_in_order():
    # Three jobs that wait for each other: fewer threads would never end them.
    together = threading.Barrier(3)

    def work(job):
        together.wait(60)
        return job

    assert list(prefetch(range(6), work, n_threads=3)) == [(n, n) for n in range(6)]


def test_threads_that_read_a_slide_at_a_time_give_the_tiles_of_one(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    path = write_lossless_slide(tmp_path / "a.tif", image)
    maps = []
    for n_threads in (1, 4):
        with open_slide(path) as slide:
            inference = replace(
                make_inference(slide, FakeTileModel(), overlap=0.5), read_threads=n_threads
            )
            maps.append(np.concatenate(list(inference.bands())))
            assert slide.reading_s >= slide.decoding_s > 0
    assert np.array_equal(maps[0], maps[1])


def test_an_error_of_a_prefetched_job_comes_in_its_turn():
    chunks = prefetch([4, 2, 0, 1], lambda job: 8 // job)
    assert [next(chunks), next(chunks)] == [(4, 2), (2, 4)]
    with pytest.raises(ZeroDivisionError):
        next(chunks)


def test_a_closed_prefetch_starts_no_more_jobs():
    # Libraries leave threads of their own.
    started, before = [], set(threading.enumerate())
    chunks = prefetch(range(100), lambda job: started.append(job))
    next(chunks)
    assert set(threading.enumerate()) - before
    chunks.close()
    assert len(started) <= 2
    assert not set(threading.enumerate()) - before
