"""The gallery of a run's patches."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from epsam.core.errors import DatasetError
from epsam.corrections.store import CorrectionStore
from epsam.data.images import write_probability
from epsam.paths import RunPaths
from epsam.view.run_patches import TrainingRun, sample_points
from epsam.view.run_site import RunSite
from support.mini import REPOSITORY
from support.viewed_run import INITIAL, SIDE, make, write_corrected, write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("viewed"))


@pytest.fixture(scope="module")
def run(folder):
    return TrainingRun(folder)


def find(run, split, name):
    return next(
        number
        for number, patch in enumerate(run.patches)
        if (patch.split, patch.patch.name) == (split, name)
    )


def picture(run, split, name, file):
    answer = RunSite(run).answer(f"pictures/{find(run, split, name)}/{file}.jpg", {})
    return cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


def test_patches_have_their_scores_of_every_table(run):
    assert len(run.patches) == 9
    assert run.rounds == [0]
    patch = run.patches[find(run, "train", "a_1")]
    assert (patch.ids, patch.accepted, patch.pseudo_dice) == ({0: 0.95}, {0: True}, {0: 1.0})
    assert patch.dice["preliminary decoder"] == 0.8
    assert patch.uncertainty == 1, "the classifier says 0.5"
    assert run.patches[find(run, "train", "b_1")].uncertainty == 0
    assert run.patches[find(run, "val", "a_1")].ids == {}, "rounds are of training patches alone"


def test_the_page_gets_scores_and_pictures(run):
    rows = RunSite(run).describe()["patches"]
    first = rows[find(run, "train", "a_1")]
    # The fill of the whole patch is no method.
    assert (first["dice"], first["ids"], first["uncertainty"]) == (0.8, 0.95, 1)
    titles = [(entry["title"], entry["caption"]) for entry in first["pictures"]]
    assert titles == [
        ("patch", ""),
        ("CAM", ""),
        ("initial mask", "Dice 0.667"),
        ("points", ""),
        ("SAM mask, round 0", "accepted, IDS 0.950, Dice 1.000"),
    ]
    second = rows[find(run, "train", "b_1")]
    assert second["pictures"][-1]["caption"] == "not accepted, IDS 0.400, Dice 0.500"
    normal = rows[find(run, "train", "c_0")]
    assert (normal["dice"], normal["ids"], normal["uncertainty"]) == (None, None, 0)
    assert [entry["title"] for entry in normal["pictures"]] == ["patch"]
    test = rows[find(run, "test", "a_1")]["pictures"]
    assert test[-1] == {"title": "preliminary decoder", "file": "", "caption": "Dice 0.300"}


def test_masks_lie_where_they_are_on_the_patch(run):
    plain, masked = (picture(run, "train", "a_1", file) for file in ("patch", "initial"))
    assert plain.shape == (256, 256, 3)
    # Orange tints the mask, four times as large as in the patch, and nothing else.
    difference = masked.astype(int) - plain
    tint = difference[44:150, 44:84].mean(axis=(0, 1))
    assert tint[0] > tint[2] + 20
    assert np.abs(difference[200:, 200:]).mean() < 10
    assert np.abs(picture(run, "train", "a_1", "cam").astype(int) - plain).mean() > 20


def test_a_mask_that_was_not_accepted_is_not_stored(run):
    grey = picture(run, "train", "b_1", "mask_0")
    assert np.ptp(grey[:40]) < 10


def test_pictures_that_are_not_there_are_no_answer(run):
    site = RunSite(run)
    for path in ("pictures/99/patch.jpg", "pictures/0/record.jpg", "pictures/0/../x.jpg", "x"):
        assert site.answer(path, {}) is None


def test_stored_probabilities_say_more_of_uncertainty_than_the_classifier(tmp_path):
    folder = write_run(tmp_path)
    probability = np.zeros((SIDE, SIDE))
    probability[:, : SIDE // 2] = 0.6
    write_probability(
        make(RunPaths(folder).probabilities(0) / "a_1.png"), probability.astype(np.float32)
    )
    run = TrainingRun(folder)
    patch = run.patches[find(run, "train", "a_1")]
    assert patch.uncertainty == pytest.approx(0.970951 / 2, abs=1e-5)


def test_a_corrected_run_shows_what_was_drawn_also_outside_of_the_dataset(tmp_path):
    folder = write_run(tmp_path)
    write_corrected(folder)
    run = TrainingRun(folder)
    store = CorrectionStore(tmp_path / "corrections")
    rows = RunSite(run, store).describe()["patches"]
    outside = rows[find(run, "corrected", "new_x0_y0_1")]
    # Its prompts are sampled anew in each epoch, and it has no pseudo-labels.
    titles = [entry["title"] for entry in outside["pictures"]]
    assert titles == ["patch", "CAM", "initial mask", "corrected"]
    assert (outside["label"], outside["dice"], outside["next"]) == (1, None, None)
    for split, expected in (("train", True), ("val", False), ("test", False)):
        titles = [entry["title"] for entry in rows[find(run, split, "a_1")]["pictures"]]
        assert ("corrected" in titles) == expected

    # Green tints the tumour in the upper half, and the lower one is as it was.
    plain, drawn = (
        picture(run, "corrected", "new_x0_y0_1", file) for file in ("patch", "correction")
    )
    difference = drawn.astype(int) - plain
    tint = difference[20:110, 20:230].mean(axis=(0, 1))
    assert tint[1] > tint[0] + 20
    assert np.abs(difference[150:230, 20:230]).mean() < 10
    assert RunSite(run).answer(f"pictures/{find(run, 'val', 'a_1')}/correction.jpg", {}) is None


def test_patches_outside_of_the_dataset_are_corrected_in_their_slide(tmp_path):
    folder = write_run(tmp_path)
    write_corrected(folder)
    run = TrainingRun(folder)
    site = RunSite(run, CorrectionStore(tmp_path / "corrections"))
    number = find(run, "corrected", "new_x0_y0_1")
    content = {"revision": 0, "action": "tumour", "corners": [[0, 0], [9, 0], [9, 9]]}
    assert site.write(f"corrections/{number}", content) is None
    assert site.answer(f"corrections/{number}.js", {}) is None
    assert not (tmp_path / "corrections").exists()


def test_points_are_those_of_the_round_on_the_initial_mask(run):
    patch = run.patches[find(run, "train", "a_1")]
    points = sample_points(run, patch, 0)
    assert points.shape == (5, 3)
    columns, rows = points[:, 0].astype(int), points[:, 1].astype(int)
    assert INITIAL[rows, columns].all()
    assert np.array_equal(points, sample_points(run, patch, 0))
    scored = sample_points(run, run.patches[find(run, "val", "a_1")], 0)
    assert scored.shape == (5, 3)
    assert sample_points(run, patch, 7) is None
    assert sample_points(run, run.patches[find(run, "train", "c_0")], 0) is None


def test_other_folders_are_refused(folder, tmp_path):
    with pytest.raises(DatasetError, match="neither a run nor an output folder"):
        TrainingRun(tmp_path)
    (tmp_path / "options.json").write_text('{"train_classifier": {"dataset_type": "gone"}}')
    with pytest.raises(DatasetError, match="no patches"):
        TrainingRun(tmp_path, tmp_path)


def test_the_viewer_starts_without_pytorch(folder):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path;"
        "import view; from epsam.config.view import ViewOptions;"
        "view.open_site(ViewOptions(folder=sys.argv[2])).answer('patches.js', {});"
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(REPOSITORY / "src"), str(folder)]
    subprocess.run(command, check=True)
