"""What a run would replace is said before its first stage, and only then replaced."""

import shutil

import pytest

import check
from epsam.config.preflight import CheckOptions
from epsam.core.errors import FinishedWorkError
from epsam.core.files import read_json, sha256_of, write_json
from epsam.data.patches import list_labelled_patches, select_positives
from epsam.engine.stage import Stage
from epsam.paths import DatasetPaths, RunPaths
from epsam.pipeline import STAGES
from epsam.preflight.finished_work import _digest_ground_truth, _digest_images
from extract_patches import main as extract_patches
from support.mini import write_patches
from support.slide_dataset import make_dataset, options_for


@pytest.fixture
def options(tmp_path):
    def build(**values):
        folders = {"dataset_root": str(tmp_path), "checkpoint_root": str(tmp_path / "runs")}
        return CheckOptions(dataset_type="mini", **folders, **values)

    return build


@pytest.fixture
def run(tmp_path, options):
    """All training stages finished with patches as they are: a classifier, masks, four decoders."""
    write_patches(tmp_path / "mini")
    finish_all(options())
    run = RunPaths.of(options())
    record = read_json(run.record)
    record["decoder_0"]["seconds"] = 7500
    write_json(run.record, record)
    return run


def finish_all(check_options):
    data = DatasetPaths.of(check_options)
    for name in ("train_classifier", "generate_initial_masks", "finetune_decoder"):
        finish(name, check_options, data)
    finish("retrain_decoder", check_options, data)


def finish(name, check_options, data):
    stage_options = check.parse_stage_options(STAGES[name], check_options)
    inputs = {"activations": "of the run"}
    if name == "train_classifier":
        inputs |= _digest_images(data, stage_options)
    elif "decoder" in name:
        inputs |= _digest_ground_truth(data)
    for completion in STAGES[name].completions(stage_options):
        Stage(completion, stage_options, inputs).finish([])


def lines(check_options):
    return check.find_finished_work(check_options).describe()


def contents(run):
    return {path: sha256_of(path) for path in run.root.rglob("*") if path.is_file()}


def test_the_same_run_again_replaces_nothing(run, options):
    assert lines(options()) == []


def test_every_stage_that_would_be_done_again_is_listed_with_its_reason(run, options):
    before = contents(run)
    changed = options(decoder_flags="--lr 0.5", retrain_flags="--lr 0.5")
    described = lines(changed)
    assert len(described) == 4
    assert described[0] == "would be lost: decoder_0 (lr 0.0002 → 0.5; took 2 h 5 min)"
    assert described[3].startswith("would be lost: decoder_3 (lr 0.0002 → 0.5")
    with pytest.raises(FinishedWorkError, match=r"decoder_0 \(lr .* and what follows \(3 more\)"):
        check.find_finished_work(changed).refuse_to_replace()
    assert contents(run) == before


def test_what_follows_from_a_changed_stage_is_listed_too(run, options):
    described = lines(options(mask_flags="--quantile 0.5"))
    assert described[0].startswith("would be lost: generate_initial_masks (quantile 0.3 → ")
    assert "decoder_0 (follows generate_initial_masks" in described[1]
    assert len(described) == 5


def test_changed_images_and_ground_truth_are_reasons(run, options, tmp_path):
    positive = select_positives(list_labelled_patches(tmp_path / "mini" / "train"))[0]
    shutil.copy(tmp_path / "mini" / "train" / "mask" / "p1_1.png", positive.mask)
    assert lines(options())[0].startswith("would be lost: decoder_0 (train_truth changed")
    positive.image.unlink()
    assert "train_classifier (train changed" in lines(options())[0]


def test_fewer_rounds_are_a_reason(run, options):
    (line,) = lines(options(retrain_flags="--n_iter 2"))
    assert line.startswith("would be lost: decoder_3 (--n_iter 2")
    assert lines(options(retrain_flags="--n_iter 5")) == []


def test_who_restarts_a_stage_is_not_asked_for_it(run, options):
    described = lines(options(mask_flags="--quantile 0.5 --restart"))
    assert "decoder_0 (follows generate_initial_masks" in described[0]


def test_with_replace_the_work_is_marked_and_not_listed_again(run, options, monkeypatch, caplog):
    monkeypatch.setattr(check, "build_checks", lambda _: [])
    flags = {"decoder_flags": "--lr 0.5", "retrain_flags": "--lr 0.5"}
    with pytest.raises(FinishedWorkError):
        check.main(options(**flags))
    with caplog.at_level("INFO"):
        check.main(options(**flags, replace=True))
    assert "note: would be lost: decoder_0 (lr 0.0002 → 0.5" in caplog.text
    marks = [
        read_json(run.root / "stages" / f"{name}.json").get("outdated")
        for name in ("generate_initial_masks", "decoder_0", "decoder_3")
    ]
    assert marks == [None, "the user has agreed", "the user has agreed"]
    check.main(options(**flags))


def test_patches_that_would_be_extracted_again_come_first(options, tmp_path, monkeypatch):
    monkeypatch.setattr(check, "build_checks", lambda _: [])
    extract_patches(options_for(make_dataset(tmp_path / "mini")))
    flags = "--patch_size 64 --stride 32"
    finish_all(options(patch_flags=flags))
    assert lines(options(patch_flags=flags)) == []
    described = lines(options(patch_flags=flags.replace("32", "64")))
    assert described[0].startswith(f"would be lost: the patches of {tmp_path}/mini (stride 32")
    assert "train_classifier (follows extract_patches" in described[1]
    with pytest.raises(FinishedWorkError, match="REPLACE=1"):
        check.main(options(patch_flags=flags.replace("32", "64")))
    check.main(options(patch_flags=flags.replace("32", "64"), replace=True))
    assert lines(options(patch_flags=flags.replace("32", "64"))) == []
