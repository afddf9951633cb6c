"""What is named for correction: the least certain first, nothing that was looked at, never val or
test.
"""

import numpy as np
import pytest

import next_slides
from epsam.config.next_slides import NextSlidesOptions
from epsam.core.errors import DatasetError
from epsam.core.files import read_table
from epsam.corrections.store import CorrectionStore
from epsam.data.images import write_probability
from epsam.paths import RunPaths
from epsam.view.catalogue import read_catalogue
from epsam.view.next_corrections import next_patches, next_places, rank_patches
from epsam.view.run_patches import TrainingRun
from epsam.view.run_site import RunSite
from support.viewed_results import write_results
from support.viewed_run import SIDE, make, write_run

SQUARE = [[0, 0], [9, 0], [9, 9], [0, 9]]


@pytest.fixture
def run(tmp_path):
    return TrainingRun(write_run(tmp_path))


def test_training_patches_come_by_their_distance_from_the_initial_mask(run, tmp_path):
    # IDS 0.95 and 0.40 of the same round; c_0 has no tumour, val and test are not learnt from.
    places = next_patches(run, tmp_path / "none")
    assert [(place.image, round(place.score, 6)) for place in places] == [
        ("b_1", 0.6),
        ("a_1", 0.05),
    ]
    assert {place.by for place in places} == {"1 - IDS"}
    assert (places[0].side, places[0].address[-9:]) == (SIDE, "patch=b_1")


def test_stored_probabilities_go_before_ids(run):
    # Half of the pixels at 1/2: one bit each.
    probability = np.zeros((SIDE, SIDE))
    probability[: SIDE // 2] = 128 / 255
    write_probability(make(RunPaths(run.run.root).probabilities(0) / "a_1.png"), probability)
    again = TrainingRun(run.run.root)
    by_name = {}
    for number, score, measure in rank_patches(again, set()):
        by_name[again.patches[number].patch.name] = (score, measure)
    assert by_name["b_1"][1] == "1 - IDS"
    assert by_name["a_1"] == (pytest.approx(0.5, abs=1e-4), "entropy of the pixels")
    assert list(by_name) == ["b_1", "a_1"]


def test_what_was_corrected_is_left_out_of_table_and_page(run, tmp_path):
    store = CorrectionStore(tmp_path / "corrections")
    store.add("train/b_1", 0, "reviewed", SQUARE)
    # Of another split: it stays, since train's patch of that name was not looked at.
    store.add("val/a_1", 0, "reviewed", SQUARE)
    assert [place.image for place in next_patches(run, store.folder)] == ["a_1"]

    rows = RunSite(run, store).describe()["patches"]
    ranks = {(row["split"], row["name"]): row["next"] for row in rows}
    assert ranks.pop(("train", "a_1")) == 1
    assert set(ranks.values()) == {None}


def test_places_of_slides_come_by_their_mean_entropy(tmp_path):
    catalogue = read_catalogue(write_results(tmp_path))
    places = next_places(catalogue, tmp_path / "none")
    # 0.6 in rows 100 to 299 of columns 300 to 399: all of it in the left square of 512 px, which is
    # tissue there.
    bits = -(0.6 * np.log2(0.6) + 0.4 * np.log2(0.4))
    first = places[0]
    assert (first.image, first.x, first.y, first.side) == ("a", 0, 0, 512)
    assert first.score == pytest.approx(bits * 200 * 100 / 512**2, rel=0.02)
    assert first.address == "#image=a&x=256&y=256&zoom=1"

    store = CorrectionStore(tmp_path / "corrections")
    store.add("a", 0, "reviewed", [[0, 0], [500, 0], [500, 500], [0, 500]])
    left = [place for place in next_places(catalogue, store.folder) if place.image == "a"]
    assert all(place.x > 0 for place in left)


def test_the_script_writes_a_table_and_says_so_if_there_is_nothing(tmp_path):
    folder = write_run(tmp_path)
    corrections = str(tmp_path / "corrections")
    next_slides.main(NextSlidesOptions(folder=str(folder), corrections=corrections, count=1))
    table = tmp_path / "corrections" / "next_slides.csv"
    (row,) = read_table(table, ("rank", "image", "score"))
    assert (row["rank"], row["image"], row["score"]) == ("1", "b_1", "0.6000")

    store = CorrectionStore(tmp_path / "corrections")
    for name in ("train/a_1", "train/b_1"):
        store.add(name, 0, "reviewed", SQUARE)
    with pytest.raises(DatasetError, match="nothing to rank"):
        next_slides.main(NextSlidesOptions(folder=str(folder), corrections=corrections))
    with pytest.raises(DatasetError, match="no folder; give a run"):
        next_slides.main(NextSlidesOptions())
