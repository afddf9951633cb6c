import subprocess
import sys

import pytest

import check
from epsam.config.command_line import parse
from epsam.config.decoder import DecoderOptions
from epsam.config.preflight import CheckOptions
from epsam.core.errors import PreflightError
from epsam.preflight.finding import collect_findings, problem, warning
from support.mini import REPOSITORY, write_slides


def test_a_stage_gets_what_all_share_and_its_own_flags_over_its_preset():
    options = parse(
        "check",
        CheckOptions,
        [
            "--dataset_type",
            "demo",
            "--seed",
            "5",
            "--sam_checkpoint",
            "a b.pth",
            "--decoder_flags=--lr 0.5 --epoch 2",
        ],
    )
    decoder = check.stage_options(
        "finetune_decoder", DecoderOptions, options, options.decoder_flags
    )
    assert (decoder.dataset_type, decoder.seed, decoder.sam_checkpoint) == ("demo", 5, "a b.pth")
    assert (decoder.lr, decoder.epoch, decoder.sam_model_type) == (0.5, 2, "vit_demo")


@pytest.mark.parametrize(
    "flags",
    [
        "patch_flags",
        "classifier_flags",
        "mask_flags",
        "decoder_flags",
        "retrain_flags",
        "evaluate_flags",
    ],
)
def test_wrong_flags_of_any_stage_end_with_2_before_the_first(flags, capsys):
    with pytest.raises(SystemExit) as end:
        check.checks(CheckOptions(**{flags: "--epok 3"}))
    assert end.value.code == 2
    assert "unrecognized arguments: --epok 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("findings", "message"),
    [
        ([warning("w"), problem("p")], "^p$"),
        ([problem("p"), warning("w"), problem("q")], "^2 problems would stop this run.*first p$"),
    ],
)
def test_everything_is_listed_and_a_problem_is_the_last_line(
    monkeypatch, caplog, findings, message
):
    monkeypatch.setattr(check, "checks", lambda _: [lambda: findings])
    caplog.set_level("INFO")
    with pytest.raises(PreflightError, match=message):
        check.main(CheckOptions())
    assert all(finding.text in caplog.text for finding in findings)


def test_warnings_alone_do_not_stop(monkeypatch, caplog):
    monkeypatch.setattr(check, "checks", lambda _: [lambda: [warning("w")]])
    caplog.set_level("INFO")
    check.main(CheckOptions())
    assert "warning: w" in caplog.text
    assert "problems 0, warnings 1" in caplog.text


def test_flags_of_the_masks_reach_their_checks(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    options = CheckOptions(
        dataset_root=str(tmp_path), device="cpu", mask_flags="--grid_search --postprocess crf"
    )
    texts = [finding.text for finding in collect_findings(check.checks(options))]
    assert any("pip install pydensecrf2" in text for text in texts)
    assert any("--grid_search: --postprocess crf has neither" in text for text in texts)


def test_a_number_out_of_its_range_ends_with_2_before_the_first_stage(capsys):
    with pytest.raises(SystemExit) as end:
        check.checks(CheckOptions(mask_flags="--quantile 30"))
    assert end.value.code == 2
    assert "--quantile: 30.0 is out of range" in capsys.readouterr().err


@pytest.mark.slow
def test_everything_that_is_wrong_is_told_at_once(tmp_path):
    data = tmp_path / "mini"
    write_slides(data)
    (data / "annotations" / "a.xml").unlink()
    (data / "splits.csv").write_text("slide,split\na,train\nb,train\nd,test\n")
    command = [
        sys.executable,
        f"{REPOSITORY}/src/check.py",
        "--dataset_type",
        "mini",
        "--dataset_root",
        ".",
        "--device",
        "cpu",
        "--sam_model_type",
        "vit_demo",
        "--sam_checkpoint",
        "sam.pth",
        "--patch_flags=--patch_size 64 --max_per_bin 1000000000,0,0",
        "--classifier_flags=--pretrained none.pth",
    ]
    found = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    for told in (
        "PROBLEM: sam.pth: no such file",
        "PROBLEM: none.pth: no such file",
        "PROBLEM: val: no slide",
        "129025.1 GB will be written",
        "left out (a): no outlines",
        "left out (c): not listed",
    ):
        assert told in found.stdout
    assert found.returncode == 1
    assert found.stderr.startswith(
        "error: 4 problems would stop this run, see the list above; first sam.pth: no"
    )
    assert found.stderr.count("\n") == 1
