import numpy as np
import pytest

from epsam.view import uncertainty
from epsam.view.catalogue import read_catalogue
from epsam.view.open_images import OpenImages
from epsam.view.uncertainty import UncertaintyScores, entropy, mean_over_tissue
from epsam.wsi.tissue import TissueMask
from epsam.wsi.writer import write_slide
from support.viewed_results import HEIGHT, LOSSLESS, WIDTH, write_results

BITS = 0.970951
"""−0.6 log2 0.6 − 0.4 log2 0.4."""


def test_entropy_is_one_bit_at_half_and_none_where_all_is_certain():
    values = entropy(np.array([0, 0.5, 0.6, 0.25, 1]))
    assert values == pytest.approx([0, 1, BITS, 0.811278, 0], abs=1e-6)


def write_probability(path, values):
    write_slide(path, values, 0.5, LOSSLESS)
    return path


def test_the_mean_counts_pixels_on_tissue_alone(tmp_path):
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[:100, :100] = 153
    values[:100, 600:] = 153
    path = write_probability(tmp_path / "p.tif", values)
    tissue = np.zeros((HEIGHT // 10, WIDTH // 10), bool)
    tissue[:20, :20] = True
    # 100 × 100 of 200 × 200 px on tissue are unsure; the others lie on glass.
    mean = mean_over_tissue(OpenImages(), path, TissueMask(tissue, 10.0), 1.0)
    assert mean == pytest.approx(BITS / 4, abs=1e-6)
    # A pixel of the results may span several of level 0.
    wider = mean_over_tissue(OpenImages(), path, TissueMask(tissue, 20.0), 2.0)
    assert wider == pytest.approx(BITS / 4, abs=1e-6)


def test_without_tissue_there_is_no_mean(tmp_path):
    path = write_probability(tmp_path / "p.tif", np.zeros((HEIGHT, WIDTH), np.uint8))
    empty = TissueMask(np.zeros((50, 70), bool), 10.0)
    assert mean_over_tissue(OpenImages(), path, empty, 1.0) is None


def test_squares_of_a_large_slide_are_spread_over_it(tmp_path, monkeypatch):
    monkeypatch.setattr(uncertainty, "SQUARE_PX", 50)
    monkeypatch.setattr(uncertainty, "MAX_SQUARES", 14)
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[:, : WIDTH // 2] = 153
    path = write_probability(tmp_path / "p.tif", values)
    tissue = TissueMask(np.ones((50, 70), bool), 10.0)
    mean = mean_over_tissue(OpenImages(), path, tissue, 1.0)
    assert mean == pytest.approx(BITS / 2, abs=BITS / 6)


def test_a_slide_that_cannot_be_read_has_no_uncertainty_and_the_others_have(tmp_path, caplog):
    images = read_catalogue(write_results(tmp_path)).images
    (tmp_path / "slides" / "a.tif").write_bytes(b"II*\0" + bytes(100))
    scores = UncertaintyScores(images)
    assert not scores.is_complete
    scores.compute()
    assert scores.is_complete
    assert scores.values[0] is None
    # 200 × 100 unsure pixels on tissue of 600 × 500 px, at the grain of the tissue mask.
    assert scores.values[1] == pytest.approx(BITS * 20_000 / 300_000, rel=0.05)
    assert "a: no uncertainty" in caplog.text
