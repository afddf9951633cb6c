import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def measure(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import measure

    return measure


def test_a_ratio_is_plain_over_ours_and_has_to_reach_its_target(measure):
    met = measure.Comparison("slow", 6.0, "fast", 2.0, 3.0).as_row()
    assert (met["ratio"], met["met"]) == (3.0, True)
    assert not measure.Comparison("slow", 5.9, "fast", 2.0, 3.0).as_row()["met"]


def test_sides_take_turns_after_one_unmeasured_call_each(measure):
    calls = []
    times = measure.in_turns(lambda: calls.append("plain"), lambda: calls.append("ours"), "cpu", repeats=2)
    assert calls == ["plain", "ours", "plain", "ours", "plain", "ours"]
    assert all(seconds >= 0 for seconds in times)


def test_all_levels_of_the_large_slide_show_the_same_tissue(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from large_inference import DOWNSAMPLES, in_pieces
    from large_slide import TILE, tiles

    for downsample in DOWNSAMPLES:
        level = 24 * 4096 // downsample
        count = level // TILE
        shown = [number for number, tile in enumerate(tiles(level, b"x", partial(in_pieces, 24 * 4096))) if tile]
        # A piece is one tile of the coarsest level: 16 / downsample tiles of this one in each direction.
        across = 16 // downsample
        assert shown == [row * count + column for piece in (0, 12, 23)
                         for row in range(piece * across, (piece + 1) * across)
                         for column in range(piece * across, (piece + 1) * across)]


def test_an_unknown_name_is_told():
    done = subprocess.run([sys.executable, str(ROOT / "benchmarks" / "run.py"), "nonsense"], capture_output=True,
                          text=True)
    assert done.returncode == 2
    assert "no such benchmark: nonsense" in done.stderr


def test_the_training_step_that_is_timed_moves_the_decoder(measure, monkeypatch, tmp_path):
    import sam_cases
    import torch

    from epsam.device import pick_compute
    from epsam.sam.models import build_sam, freeze
    from epsam.sam.segmenter import Segmenter

    spec = {"PATCH_PX": 128, "GRID": 32, "POINTS": 5, "BATCH": 2}
    for name, value in spec.items():
        monkeypatch.setattr(sam_cases, name, value)
    torch.manual_seed(0)
    segmenter = Segmenter(freeze(build_sam("vit_demo")), 128, 5, pick_compute("cpu", "fp32"))
    step = sam_cases._training_step(tmp_path, segmenter)
    before = segmenter.sam.mask_decoder.mask_tokens.weight.clone()
    step()
    assert not torch.equal(segmenter.sam.mask_decoder.mask_tokens.weight, before)
