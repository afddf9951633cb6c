import json

import pytest

from epsam.files import read_table
from epsam.options import DecoderOptions
from epsam.training.stage import METRIC_COLUMNS, Stage, contents, names_and_sizes


@pytest.fixture
def options(tmp_path):
    return lambda **values: DecoderOptions(checkpoint_root=str(tmp_path), run="r", **values)


def finish(options, inputs=("in",)):
    stage = Stage("decoder_0", options, inputs)
    stage.finish()
    return stage


def test_a_finished_stage_is_known_again(options):
    assert not Stage("decoder_0", options(), ["in"]).finished()
    finish(options())
    assert Stage("decoder_0", options(), ["in"]).finished()
    assert not Stage("decoder_1", options(), ["in"]).finished()


def test_other_options_or_inputs_mean_doing_it_again(options):
    finish(options())
    assert not Stage("decoder_0", options(lr=1e-3), ["in"]).finished()
    assert not Stage("decoder_0", options(), ["other"]).finished()


def test_where_it_runs_does_not_matter(options):
    finish(options())
    assert Stage("decoder_0", options(device="cpu", debug=True, embedding_cache=False), ["in"]).finished()


def test_restart_forgets_the_marker_and_half_done_work(options):
    half = finish(options()).unfinished("decoder_0")
    half.parent.mkdir(parents=True)
    half.touch()
    assert not Stage("decoder_0", options(restart=True), ["in"]).finished()
    assert not half.exists()


def test_half_done_work_of_other_options_is_never_taken_up(options):
    names = {Stage("decoder_0", options(**o), i).unfinished("t") for o, i in
             [({}, ["in"]), ({"lr": 1e-3}, ["in"]), ({}, ["other"])]}
    assert len(names) == 3


def test_options_of_all_stages_are_kept_together(options, tmp_path):
    finish(options())
    Stage("decoder_1", options(lr=5.0), []).finish()
    kept = json.loads((tmp_path / "r" / "options.json").read_text())
    assert (kept["decoder_0"]["lr"], kept["decoder_1"]["lr"]) == (2e-4, 5.0)


def test_a_tasks_figures_replace_its_earlier_ones_and_leave_the_others(options, tmp_path):
    stage = Stage("decoder_0", options(), [])
    stage.record("a", [(1, "loss", 0.5)])
    stage.record("b", [(1, "loss", 0.25)])
    stage.record("a", [(1, "loss", 0.125), (2, "loss", 0.0)])
    rows = read_table(tmp_path / "r" / "metrics.csv", METRIC_COLUMNS)
    assert [(r["stage"], r["epoch"], float(r["value"])) for r in rows] == [("b", "1", 0.25), ("a", "1", 0.125),
                                                                         ("a", "2", 0.0)]


def test_digests_see_what_they_should(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    same_size, whole = names_and_sizes([first]), contents([first])
    assert contents([first, second]) != contents([first])
    first.write_bytes(b"eno")
    assert names_and_sizes([first]) == same_size
    assert contents([first]) != whole
