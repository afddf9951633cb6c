import json

import pytest

from epsam.config.decoder import DecoderOptions
from epsam.core.errors import TrainingError
from epsam.core.files import (
    digest_of_files,
    digest_of_names_and_sizes,
    read_json,
    read_table,
    write_json,
)
from epsam.engine.stage import Stage, check_predecessor, find_degenerate_outputs
from epsam.paths import RunPaths
from epsam.tables import METRIC_COLUMNS


@pytest.fixture
def options(tmp_path):
    return lambda **values: DecoderOptions(checkpoint_root=str(tmp_path), run="r", **values)


INPUTS = {"x": "in"}


def finish(options, outputs=(), degenerate_output=""):
    stage = Stage("decoder_0", options, INPUTS)
    stage.finish(outputs, degenerate_output)
    return stage


def test_a_finished_stage_is_current(options):
    assert not Stage("decoder_0", options(), INPUTS).is_current()
    finish(options())
    assert Stage("decoder_0", options(), INPUTS).is_current()
    assert not Stage("decoder_1", options(), INPUTS).is_current()


@pytest.mark.parametrize(("changed", "inputs"), [({"lr": 1e-3}, INPUTS), ({}, {"x": "other"})])
def test_other_options_or_inputs_mean_doing_it_again(options, changed, inputs):
    finish(options())
    assert not Stage("decoder_0", options(**changed), inputs).is_current()


def test_the_log_names_what_has_changed(options, caplog):
    finish(options())
    again = Stage("decoder_0", options(lr=1e-3, n_sample=4), {"x": "other"})
    with caplog.at_level("INFO"):
        assert not again.is_current()
    # In the order of the flags, by their present names.
    assert "decoder_0: done again: " in caplog.text
    assert "lr 0.0002 → 0.001" in caplog.text
    assert "n_sample 1 → 4" in caplog.text
    assert "x changed" in caplog.text
    assert Stage("decoder_0", options(restart=True), INPUTS).why_stale() == "--restart"
    assert Stage("decoder_0", options(), INPUTS).why_stale() == ""


def test_a_record_without_names_takes_them_from_the_record_of_the_run(options, tmp_path):
    finish(options())
    path = tmp_path / "r" / "stages" / "decoder_0.json"
    whole = read_json(path)
    bare = {name: whole[name] for name in ("fingerprint", "trouble", "outputs")}
    write_json(path, bare)
    assert Stage("decoder_0", options(), INPUTS).is_current()
    assert Stage("decoder_0", options(lr=1e-3), INPUTS).why_stale() == "lr 0.0002 → 0.001"
    assert Stage("decoder_0", options(), {"x": "other"}).why_stale() == "x changed"
    # The record of the run may be of another time; then nobody knows the names.
    write_json(path, {**bare, "fingerprint": "other"})
    assert Stage("decoder_0", options(), INPUTS).why_stale() == "options or inputs have changed"


@pytest.mark.parametrize("content", ["{", "{}", '{"decoder_0": 3}', '{"decoder_0": {}}'])
def test_a_damaged_record_of_the_run_leaves_finished_stages_finished(options, tmp_path, content):
    finish(options())
    path = tmp_path / "r" / "stages" / "decoder_0.json"
    write_json(path, {"fingerprint": read_json(path)["fingerprint"]})
    (tmp_path / "r" / "record.json").write_text(content)
    assert Stage("decoder_0", options(), INPUTS).is_current()


def test_a_stage_broken_off_while_being_redone_is_not_taken_for_the_earlier_one(options):
    finish(options())
    redone = Stage("decoder_0", options(lr=1e-3, replace=True), INPUTS)
    assert not redone.is_current()
    redone.begin()
    assert not Stage("decoder_0", options(), INPUTS).is_current()


def test_asking_whether_a_stage_is_current_changes_nothing(options):
    finish(options())
    assert not Stage("decoder_0", options(lr=1e-3), INPUTS).is_current()
    assert not Stage("decoder_0", options(restart=True), INPUTS).is_current()
    assert Stage("decoder_0", options(), INPUTS).is_current()


@pytest.mark.parametrize(
    "harm", [lambda path: path.write_bytes(b"bytez"), lambda path: path.unlink()]
)
def test_a_stage_whose_files_were_damaged_is_done_again(options, tmp_path, harm, caplog):
    masks = [tmp_path / "r" / "masks" / name for name in ("a.png", "b.png")]
    for path in masks:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"bytes")
    finish(options(), masks)
    assert Stage("decoder_0", options(), INPUTS).is_current()
    harm(masks[1])
    with caplog.at_level("INFO"):
        assert not Stage("decoder_0", options(), INPUTS).is_current()
    assert "again: masks/b.png is missing or is not as it was written" in caplog.text


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_completion_record_means_doing_it_again(options, tmp_path, content):
    finish(options())
    (tmp_path / "r" / "stages" / "decoder_0.json").write_text(content)
    assert not Stage("decoder_0", options(), INPUTS).is_current()


def test_a_stage_refuses_to_follow_one_that_left_nothing_unless_allowed(options, caplog):
    finish(options(), degenerate_output="all masks are empty")
    assert "WARNING: decoder_0: all masks are empty" in caplog.text
    with pytest.raises(
        TrainingError, match=r"decoder_1: .* in decoder_0 all masks are empty.*--allow_degenerate"
    ):
        check_predecessor("decoder_1", "decoder_0", options())
    check_predecessor("decoder_1", "decoder_0", options(allow_degenerate=True))
    check_predecessor("decoder_1", "never_run", options())


def test_a_refusal_names_the_folder_of_panels_only_if_there_is_one(options, tmp_path):
    finish(options(), degenerate_output="all masks are empty")
    with pytest.raises(TrainingError, match="are empty; mend that stage, or"):
        check_predecessor("decoder_1", "decoder_0", options())
    (tmp_path / "r" / "panels").mkdir()
    with pytest.raises(TrainingError, match="are empty; look at .*panels and mend that stage"):
        check_predecessor("decoder_1", "decoder_0", options())


def test_degenerate_outputs_of_a_run_are_those_of_its_stages(options, tmp_path):
    finish(options(), degenerate_output="all masks are empty")
    Stage("decoder_1", options(), {}).finish([])
    assert find_degenerate_outputs(RunPaths(tmp_path / "r")) == {"decoder_0": "all masks are empty"}
    assert find_degenerate_outputs(RunPaths(tmp_path / "never")) == {}


def test_the_record_says_how_the_stage_was_made(options, tmp_path):
    finish(options(seed=7))
    entry = json.loads((tmp_path / "r" / "record.json").read_text())["decoder_0"]
    assert (entry["options"]["seed"], entry["inputs"]) == (7, INPUTS)


def test_the_record_has_the_seconds_of_all_epochs_also_of_those_before_an_interruption(
    options, tmp_path
):
    stage = Stage("a", options(), {})
    stage.record("a", [(1, "loss", 0.5), (1, "seconds", 40.0), (2, "seconds", 2.25)])
    stage.finish([])
    entry = read_json(stage.run.record)["a"]
    assert entry["fit_seconds"] == 42.2
    assert entry["seconds"] < 40


def test_where_it_runs_does_not_matter(options):
    finish(options())
    elsewhere = options(device="cpu", debug=True, embedding_cache=False, allow_degenerate=True)
    assert Stage("decoder_0", elsewhere, INPUTS).is_current()


def test_restart_removes_the_completion_record_and_progress(options):
    progress = finish(options()).progress_path("decoder_0")
    progress.parent.mkdir(parents=True)
    progress.touch()
    restarted = Stage("decoder_0", options(restart=True), INPUTS)
    assert not restarted.is_current()
    restarted.begin()
    assert not progress.exists()
    assert not Stage("decoder_0", options(), INPUTS).is_current()


def test_without_restart_progress_is_kept(options):
    stage = Stage("decoder_0", options(), INPUTS)
    progress = stage.progress_path("decoder_0")
    progress.parent.mkdir(parents=True)
    progress.touch()
    stage.begin()
    assert progress.exists()


def test_progress_of_other_options_or_inputs_is_never_resumed(options):
    paths = {
        Stage("decoder_0", options(**o), i).progress_path("t")
        for o, i in [({}, INPUTS), ({"lr": 1e-3}, INPUTS), ({}, {"x": "other"})]
    }
    assert len(paths) == 3


def test_options_of_all_stages_are_in_one_file(options, tmp_path):
    finish(options())
    Stage("decoder_1", options(lr=5.0), {}).finish([])
    stages = json.loads((tmp_path / "r" / "options.json").read_text())
    assert (stages["decoder_0"]["lr"], stages["decoder_1"]["lr"]) == (2e-4, 5.0)


def test_a_tasks_metrics_replace_its_earlier_ones_and_leave_those_of_other_tasks(options, tmp_path):
    stage = Stage("decoder_0", options(), {})
    stage.record("a", [(1, "loss", 0.5)])
    stage.record("b", [(1, "loss", 0.25)])
    stage.record("a", [(1, "loss", 0.125), (2, "loss", 0.0)])
    rows = read_table(tmp_path / "r" / "metrics.csv", METRIC_COLUMNS)
    assert [(r["stage"], r["epoch"], float(r["value"])) for r in rows] == [
        ("a", "1", 0.125),
        ("a", "2", 0.0),
        ("b", "1", 0.25),
    ]


def test_digests_change_with_names_sizes_or_content(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    names_and_sizes, content = digest_of_names_and_sizes([first]), digest_of_files([first])
    assert digest_of_files([first, second]) != digest_of_files([first])
    first.write_bytes(b"eno")
    assert digest_of_names_and_sizes([first]) == names_and_sizes
    assert digest_of_files([first]) != content
