"""From a polygon that is drawn in a browser to the decoder that is trained with it."""

import threading
from pathlib import Path

import numpy as np
import pytest

import retrain_decoder
import reuse_run
from epsam.config.command_line import parse
from epsam.config.decoder import RetrainOptions
from epsam.config.reuse import ReuseOptions
from epsam.corrections.store import CorrectionStore
from epsam.data.images import read_mask
from epsam.paths import RunPaths
from epsam.training import decoder
from epsam.view.run_patches import TrainingRun
from epsam.view.run_site import RunSite
from epsam.view.server import ViewServer
from support.browser import draw_quarter, find_browser, open_browser
from support.old_mini_run import unpacked_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(
        find_browser() is None,
        reason="no Chromium found (on Debian: apt-get install chromium); nothing can be drawn",
    ),
]

FLAGS = (
    "--dataset_type mini --run mini-corrected --device cpu --sam_model_type vit_demo "
    "--sam_checkpoint coarse_sam.pth --epoch 1 --ids_threshold -1 --batch_size 4 --n_point 5 "
    "--embedding_transforms 1 --allow_degenerate --n_iter 1 --corrections corrections"
)
SIDE = 64


@pytest.fixture
def old_run(tmp_path, monkeypatch):
    """A finished run, small and quick."""
    monkeypatch.chdir(tmp_path)
    with unpacked_run(tmp_path) as folder:
        yield folder


def test_what_is_drawn_is_the_target_of_the_next_training(old_run, tmp_path_factory, monkeypatch):
    store = CorrectionStore(Path("corrections"))
    profile = tmp_path_factory.mktemp("profile")
    with (
        open_browser(find_browser(), profile, scripts=True) as browser,
        ViewServer(RunSite(TrainingRun(Path("checkpoints/mini")), store)) as server,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        draw_quarter(browser, server.address, "p0_1")
        server.shutdown()
    assert Path("corrections/train/p0_1.geojson").is_file()

    targets = {}

    def load_target(example):
        target = load(example)
        targets[example.patch.name] = target
        return target

    load = decoder.load_target
    monkeypatch.setattr(decoder, "load_target", load_target)
    reuse_run.main(ReuseOptions(run="mini-corrected", source_run="mini"))
    retrain_decoder.main(parse("retrain_decoder", RetrainOptions, FLAGS.split()))

    drawn = np.zeros((SIDE, SIDE), bool)
    drawn[:32, :32] = True
    # A line of the mouse is a pixel off, at most.
    near_the_line = np.zeros((SIDE, SIDE), bool)
    near_the_line[:34, :34] = True
    near_the_line[2:30, 2:30] = False
    run = RunPaths(Path("checkpoints/mini-corrected"))
    pseudo_label = read_mask(run.pseudo_masks(0) / "p0_1.png")
    expected = np.where(drawn, True, pseudo_label)
    is_equal = targets["p0_1"] == expected
    assert is_equal[~near_the_line].all()
    # It says something else than the pseudo-label did, and of no other patch.
    assert (pseudo_label[2:30, 2:30] != expected[2:30, 2:30]).any()
    assert (targets["p1_1"] == read_mask(run.pseudo_masks(0) / "p1_1.png")).all()
    assert run.round_decoder(1).is_file()
