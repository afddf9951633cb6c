import json

import pytest

from epsam.ablation.reuse import read_fingerprint, reuse_cams, reuse_stage
from epsam.core.files import read_table, write_json, write_table, write_text
from epsam.paths import RunPaths
from epsam.tables import METRIC_COLUMNS


@pytest.fixture
def source(tmp_path):
    run = RunPaths(tmp_path / "source")
    for path in (
        run.classifier,
        run.cams("train"),
        run.initial_masks("train") / "a_1.png",
        run.mask_rule,
        run.preliminary_decoder,
        run.pseudo_masks(0) / "a_1.png",
        run.panels / "decoder_0.png",
        run.round_decoder(1),
    ):
        write_text(path, path.name)
    stages = ("train_classifier", "generate_initial_masks", "decoder_0", "decoder_1")
    for stage in stages:
        write_json(run.root / "stages" / f"{stage}.json", {"fingerprint": f"of {stage}"})
    write_json(run.options, {stage: {"lr": 1} for stage in stages})
    write_table(
        run.metrics,
        METRIC_COLUMNS,
        [
            {"stage": s, "epoch": 1, "name": "loss", "value": 1}
            for s in ("classifier", "decoder_0", "decoder_1")
        ],
    )
    write_table(
        run.pseudo_labels,
        ("round", "id", "points", "ids", "area_ratio", "accepted", "dice"),
        [{"round": n, "id": "a_1"} for n in (0, 1)],
    )
    return run


def test_a_stage_is_reused_with_its_rows_and_record_and_nothing_of_later_ones(source, tmp_path):
    target = RunPaths(tmp_path / "target")
    for stage in ("train_classifier", "generate_initial_masks", "decoder_0"):
        reuse_stage(source, target, stage)
        assert read_fingerprint(target, stage) == f"of {stage}"
    assert (
        target.initial_masks("train")
        .joinpath("a_1.png")
        .samefile(source.initial_masks("train") / "a_1.png")
    )
    assert target.preliminary_decoder.samefile(source.preliminary_decoder)
    assert not target.round_decoder(1).exists()
    assert [row["stage"] for row in read_table(target.metrics, METRIC_COLUMNS)] == [
        "classifier",
        "decoder_0",
    ]
    assert [row["round"] for row in read_table(target.pseudo_labels, ("round",))] == ["0"]
    assert set(json.loads(target.options.read_text())) == {
        "train_classifier",
        "generate_initial_masks",
        "decoder_0",
    }


def test_earlier_files_of_that_stage_are_replaced_and_the_source_is_never_written_to(
    source, tmp_path
):
    target = RunPaths(tmp_path / "target")
    write_text(target.pseudo_masks(0) / "stale_1.png", "stale")
    write_text(target.preliminary_decoder, "old")
    reuse_stage(source, target, "decoder_0")
    assert [path.name for path in target.pseudo_masks(0).iterdir()] == ["a_1.png"]
    write_text(target.preliminary_decoder, "new")
    assert source.preliminary_decoder.read_text() == "sam_pre_decoder.pth"


def test_nothing_is_reused_that_is_not_complete_or_is_there_already(source, tmp_path):
    target = RunPaths(tmp_path / "target")
    reuse_stage(source, target, "decoder_2")
    assert not target.root.exists()
    write_json(
        target.root / "stages" / "train_classifier.json", {"fingerprint": "of train_classifier"}
    )
    write_text(target.classifier, "mine")
    reuse_stage(source, target, "train_classifier")
    assert target.classifier.read_text() == "mine"


def test_cams_can_be_reused_alone(source, tmp_path):
    target = RunPaths(tmp_path / "target")
    write_text(target.cams("test"), "stale")
    reuse_cams(source, target)
    assert [path.name for path in target.cams("train").parent.iterdir()] == ["train.npz"]
    assert not read_fingerprint(target, "generate_initial_masks")
