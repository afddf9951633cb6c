"""Into how many leaves a stage cuts its batches: as --leaves says, else as it began, else by the
number of processes.
"""

import pytest

from epsam.config.classifier import ClassifierOptions
from epsam.core.files import write_json
from epsam.engine.run_leaves import remember_leaves, settle_leaves
from epsam.paths import RunPaths

STAGE = "train_classifier"


@pytest.fixture
def start(tmp_path, monkeypatch):
    """The leaves with which a number of processes starts the stage."""

    def settle(size, **options):
        for name, number in {"RANK": 0, "WORLD_SIZE": size, "LOCAL_RANK": 0}.items():
            monkeypatch.setenv(name, str(number))
        options = ClassifierOptions(checkpoint_root=str(tmp_path), run="r", **options)
        return settle_leaves(options, STAGE).leaves

    return settle


@pytest.fixture
def run(tmp_path):
    paths = RunPaths(tmp_path / "r")
    paths.root.mkdir()
    return paths


def test_one_process_has_none_and_several_have_eight(start):
    assert (start(1), start(2), start(8)) == (0, 8, 8)


def test_there_are_no_more_leaves_than_patches_in_a_batch(start):
    assert [start(2, batch_size=size) for size in (2, 3, 5, 7, 20)] == [2, 2, 4, 4, 8]


def test_a_stage_goes_on_with_the_leaves_it_began_with(start, run):
    remember_leaves(run, STAGE, 4)
    assert (start(1), start(2), start(4)) == (4, 4, 4)
    assert start(1, leaves=2) == 2
    # --restart begins it again.
    assert start(1, restart=True) == 0


def test_other_stages_have_leaves_of_their_own(start, run):
    remember_leaves(run, "decoder_0", 4)
    assert start(1) == 0


def test_a_stage_that_is_reused_from_another_run_has_the_leaves_of_then(start, run):
    write_json(run.options, {STAGE: {"leaves": 4}, "decoder_0": {}})
    assert (start(1), start(2)) == (4, 4)


def test_a_stage_that_one_process_finished_stays_as_it_is(start, run):
    (run.root / "stages").mkdir()
    (run.root / "stages" / f"{STAGE}.json").write_text("{}")
    assert start(4) == 0


def test_more_processes_than_leaves_end_with_2(start, capsys):
    with pytest.raises(SystemExit, match="2"):
        start(4, leaves=2)
    assert capsys.readouterr().err == (
        "train_classifier: 4 processes share the 2 leaves of a batch, and a process needs one at "
        "least; start 2 processes, or raise --leaves and --batch_size\n"
    )


def test_without_leaves_no_file_is_written(run):
    remember_leaves(run, STAGE, 0)
    assert list(run.root.iterdir()) == []
