"""Finished work is never replaced in silence."""

import pytest

from epsam.config.decoder import DecoderOptions, RetrainOptions
from epsam.core.errors import FinishedWorkError
from epsam.core.files import read_json, write_json, write_text
from epsam.engine.replacement import OUTDATED, read_seconds
from epsam.engine.stage import Stage
from epsam.paths import RunPaths
from epsam.training.delete_rounds import require_replaceable_rounds

INPUTS = {"train": "t"}
SUMMARIES = ("evaluation.csv", "evaluation_patches.csv", "report.html", "panels/test.png")


@pytest.fixture
def options(tmp_path):
    return lambda **values: DecoderOptions(checkpoint_root=str(tmp_path), run="r", **values)


@pytest.fixture
def run(options):
    """A finished run of a preliminary decoder and two rounds, with scores and report."""
    run = RunPaths.of(options())
    for number in range(3):
        write_text(run.round_decoder(number), f"decoder {number}")
        Stage(f"decoder_{number}", options(), INPUTS).finish([run.round_decoder(number)])
    for name in SUMMARIES:
        write_text(run.root / name, "of the old weights")
    write_json(run.root / "stages" / "evaluate.json", {"fingerprint": "x"})
    return run


def content(run):
    return {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()}


def completion(run, name):
    return read_json(run.root / "stages" / f"{name}.json")


@pytest.mark.parametrize(
    ("changes", "inputs", "reason"),
    [
        ({"lr": 1e-3}, INPUTS, r"lr 0\.0002 → 0\.001"),
        ({}, {"train": "other"}, "train changed"),
    ],
)
def test_a_finished_stage_is_not_replaced_and_one_line_says_why_and_what_to_do(
    run, options, changes, inputs, reason
):
    record = read_json(run.record)
    record["decoder_0"] |= {"seconds": 7500.0, "fit_seconds": 90.0}
    write_json(run.record, record)
    before = content(run)
    with pytest.raises(FinishedWorkError) as error:
        Stage("decoder_0", options(**changes), inputs).begin()
    assert content(run) == before
    assert "\n" not in str(error.value)
    error.match(rf"decoder_0 \({reason}; took 2 h 5 min\) and what follows \(2 more\)")
    error.match(r"RUN=r-2 \(--run r-2\), or replace .* REPLACE=1 \(--replace\)")


def test_the_advised_name_is_free(run, options, tmp_path):
    (tmp_path / "r-2").mkdir()
    with pytest.raises(FinishedWorkError, match="RUN=r-3"):
        Stage("decoder_0", options(lr=1e-3), INPUTS).begin()


def test_with_replace_later_work_is_marked_and_scores_and_report_go(run, options):
    Stage("decoder_0", options(lr=1e-3, replace=True), INPUTS).begin()
    assert not (run.root / "stages" / "decoder_0.json").exists()
    for name in ("decoder_1", "decoder_2"):
        assert completion(run, name)[OUTDATED] == "decoder_0 has been replaced"
    assert not [name for name in SUMMARIES if (run.root / name).exists()]
    assert not (run.root / "stages" / "evaluate.json").exists()


def test_an_interrupted_replacement_goes_on_without_another_question(run, options):
    Stage("decoder_0", options(lr=1e-3, replace=True), INPUTS).begin()
    # Killed here, and started again without --replace.
    stage = Stage("decoder_0", options(lr=1e-3), INPUTS)
    stage.begin()
    stage.finish([])
    Stage("decoder_1", options(lr=1e-3), INPUTS).begin()


def test_a_mark_goes_from_work_that_is_current_after_all(run, options):
    Stage("decoder_0", options(lr=1e-3, replace=True), INPUTS).begin()
    assert Stage("decoder_2", options(), INPUTS).is_current()
    assert OUTDATED not in completion(run, "decoder_2")
    with pytest.raises(FinishedWorkError):
        Stage("decoder_2", options(lr=1e-3), INPUTS).begin()


def test_damaged_files_are_written_again_and_nothing_later_is_lost(run, options):
    run.round_decoder(0).write_text("damaged")
    stage = Stage("decoder_0", options(), INPUTS)
    assert not stage.is_current()
    assert not stage.outdates_later_stages()
    stage.begin()
    assert OUTDATED not in completion(run, "decoder_1")
    assert all((run.root / name).exists() for name in SUMMARIES)


def test_restart_is_for_its_stage_alone(run, options):
    stage = Stage("decoder_0", options(lr=1e-3, restart=True), INPUTS)
    assert not stage.outdates_later_stages()
    stage.begin()
    with pytest.raises(FinishedWorkError):
        Stage("decoder_1", options(lr=1e-3), INPUTS).begin()


def test_unfinished_work_is_replaced_without_a_question(options):
    stage = Stage("decoder_0", options(), INPUTS)
    stage.begin()
    Stage("decoder_0", options(lr=1e-3), INPUTS).begin()


def test_fewer_rounds_delete_finished_ones_on_request_alone(run, tmp_path):
    def options(**values):
        return RetrainOptions(checkpoint_root=str(tmp_path), run="r", **values)

    require_replaceable_rounds(options(n_iter=2))
    with pytest.raises(FinishedWorkError, match=r"decoder_2 \(--n_iter 1"):
        require_replaceable_rounds(options(n_iter=1))
    require_replaceable_rounds(options(n_iter=1, replace=True))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"a": 3}', '{"a": {"seconds": "x"}}'])
def test_a_record_that_does_not_say_takes_no_time(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    assert read_seconds(tmp_path / "record.json", "a") == 0
    assert read_seconds(tmp_path / "none.json", "a") == 0
