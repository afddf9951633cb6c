import json

import pytest

from epsam.ablation.reuse import marker, reuse_cams, reuse_stage
from epsam.core.files import read_table, write_json, write_table, write_text
from epsam.paths import RunPaths
from epsam.tables import METRIC_COLUMNS


@pytest.fixture
def donor(tmp_path):
    run = RunPaths(tmp_path / "donor")
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


def test_a_stage_is_taken_over_with_its_rows_and_marker_and_nothing_of_later_ones(donor, tmp_path):
    own = RunPaths(tmp_path / "own")
    for stage in ("train_classifier", "generate_initial_masks", "decoder_0"):
        reuse_stage(donor, own, stage)
        assert marker(own, stage) == f"of {stage}"
    assert (
        own.initial_masks("train")
        .joinpath("a_1.png")
        .samefile(donor.initial_masks("train") / "a_1.png")
    )
    assert own.preliminary_decoder.samefile(donor.preliminary_decoder)
    assert not own.round_decoder(1).exists()
    assert [row["stage"] for row in read_table(own.metrics, METRIC_COLUMNS)] == [
        "classifier",
        "decoder_0",
    ]
    assert [row["round"] for row in read_table(own.pseudo_labels, ("round",))] == ["0"]
    assert set(json.loads(own.options.read_text())) == {
        "train_classifier",
        "generate_initial_masks",
        "decoder_0",
    }


def test_what_the_run_had_of_that_stage_before_is_replaced_and_the_donor_is_never_written_to(
    donor, tmp_path
):
    own = RunPaths(tmp_path / "own")
    write_text(own.pseudo_masks(0) / "stale_1.png", "stale")
    write_text(own.preliminary_decoder, "old")
    reuse_stage(donor, own, "decoder_0")
    assert [path.name for path in own.pseudo_masks(0).iterdir()] == ["a_1.png"]
    write_text(own.preliminary_decoder, "new")
    assert donor.preliminary_decoder.read_text() == "sam_pre_decoder.pth"


def test_nothing_is_taken_that_is_not_finished_or_is_there_already(donor, tmp_path):
    own = RunPaths(tmp_path / "own")
    reuse_stage(donor, own, "decoder_2")
    assert not own.root.exists()
    write_json(
        own.root / "stages" / "train_classifier.json", {"fingerprint": "of train_classifier"}
    )
    write_text(own.classifier, "mine")
    reuse_stage(donor, own, "train_classifier")
    assert own.classifier.read_text() == "mine"


def test_maps_can_be_taken_over_alone(donor, tmp_path):
    own = RunPaths(tmp_path / "own")
    write_text(own.cams("test"), "stale")
    reuse_cams(donor, own)
    assert [path.name for path in own.cams("train").parent.iterdir()] == ["train.npz"]
    assert not marker(own, "generate_initial_masks")
