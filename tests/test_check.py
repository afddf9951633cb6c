import sys

import pytest

import check
from command_line import parse
from epsam.errors import PreflightError
from epsam.options import DecoderOptions
from epsam.preflight.finding import collected, problem, warning
from epsam.preflight.options import CheckOptions


def test_a_stage_gets_what_all_share_and_its_own_flags_over_its_preset():
    options = parse("check", CheckOptions, ["--dataset_type", "demo", "--seed", "5", "--sam_checkpoint", "a b.pth",
                                            "--decoder_flags=--lr 0.5 --epoch 2"])
    decoder = check.stage_options("finetune_decoder", DecoderOptions, options, options.decoder_flags)
    assert (decoder.dataset_type, decoder.seed, decoder.sam_checkpoint) == ("demo", 5, "a b.pth")
    assert (decoder.lr, decoder.epoch, decoder.sam_model_type) == (0.5, 2, "vit_demo")


@pytest.mark.parametrize("flags", ["patch_flags", "classifier_flags", "mask_flags", "decoder_flags", "retrain_flags",
                                   "evaluate_flags"])
def test_wrong_flags_of_any_stage_end_with_2_before_the_first(flags, capsys):
    with pytest.raises(SystemExit) as end:
        check.checks(CheckOptions(**{flags: "--epok 3"}))
    assert end.value.code == 2
    assert "unrecognized arguments: --epok 3" in capsys.readouterr().err


@pytest.mark.parametrize(("findings", "message"), [
    ([warning("w"), problem("p")], "^p$"),
    ([problem("p"), warning("w"), problem("q")], "^2 problems would stop this run.*first p$"),
])
def test_everything_is_listed_and_a_problem_is_the_last_line(monkeypatch, caplog, findings, message):
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
    options = CheckOptions(dataset_root=str(tmp_path), device="cpu",
                           mask_flags="--grid_search --postprocess crf")
    texts = [finding.text for finding in collected(check.checks(options))]
    assert any("pip install pydensecrf2" in text for text in texts)
    assert any("--grid_search: --postprocess crf has neither" in text for text in texts)


def test_a_number_out_of_its_range_ends_with_2_before_the_first_stage(capsys):
    with pytest.raises(SystemExit) as end:
        check.checks(CheckOptions(mask_flags="--quantile 30"))
    assert end.value.code == 2
    assert "--quantile: 30.0 is out of range" in capsys.readouterr().err
