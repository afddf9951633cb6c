import os
import subprocess
import sys

import pytest

import check
from epsam.config.command_line import parse
from epsam.config.preflight import CheckOptions
from epsam.core.errors import PreflightError
from epsam.core.files import sha256_of, write_json
from epsam.pipeline import STAGES
from epsam.preflight.finding import collect_findings, problem, warning
from support.mini import REPOSITORY, write_patches, write_slides


def test_a_stage_gets_shared_options_and_its_flags_over_its_preset():
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
    decoder = check.parse_stage_options(STAGES["finetune_decoder"], options)
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
def test_wrong_flags_of_any_stage_end_with_2(flags, capsys):
    with pytest.raises(SystemExit) as end:
        check.build_checks(CheckOptions(**{flags: "--epok 3"}))
    assert end.value.code == 2
    assert "unrecognized arguments: --epok 3" in capsys.readouterr().err


def test_all_bad_flags_of_all_stages_are_listed_at_once_with_what_was_meant(capsys):
    options = CheckOptions(
        classifier_flags="--epochs 3 --lr fast",
        mask_flags="--quantil 0.3 --quantile 30",
        decoder_flags="--n_point 5",
    )
    with pytest.raises(SystemExit) as end:
        check.build_checks(options)
    assert end.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert "train_classifier.py: error:" in lines[0]
    assert "--epochs 3; did you mean --epoch?" in lines[0]
    assert "argument --lr: invalid float value: 'fast'" in lines[1]
    assert "--quantil 0.3; did you mean --quantile?" in lines[2]
    assert "argument --quantile: 30.0 is out of range" in lines[3]


def test_a_quoted_path_is_read_as_the_shell_gives_it_to_the_stage(capsys):
    with pytest.raises(SystemExit):
        check.build_checks(CheckOptions(mask_flags='--resnet_checkpoint "a b/x.pth"'))
    assert "b/x.pth" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("findings", "message"),
    [
        ([warning("w"), problem("p")], "^p$"),
        ([problem("p"), warning("w"), problem("q")], "^2 problems would stop this run.*first p$"),
    ],
)
def test_all_findings_are_logged_and_a_problem_is_the_error(monkeypatch, caplog, findings, message):
    monkeypatch.setattr(check, "build_checks", lambda _: [lambda: findings])
    caplog.set_level("INFO")
    with pytest.raises(PreflightError, match=message):
        check.main(CheckOptions())
    assert all(finding.message in caplog.text for finding in findings)


def test_warnings_alone_do_not_stop(monkeypatch, caplog):
    monkeypatch.setattr(check, "build_checks", lambda _: [lambda: [warning("w")]])
    caplog.set_level("INFO")
    check.main(CheckOptions())
    assert "warning: w" in caplog.text
    assert "problems 0, warnings 1" in caplog.text


def test_flags_of_the_masks_reach_their_checks(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    options = CheckOptions(
        dataset_root=str(tmp_path), device="cpu", mask_flags="--grid_search --postprocess crf"
    )
    messages = [finding.message for finding in collect_findings(check.build_checks(options))]
    assert any("pip install pydensecrf2" in message for message in messages)
    assert any("--grid_search: --postprocess crf cuts at" in message for message in messages)


def test_a_number_out_of_its_range_ends_with_2_before_the_first_stage(capsys):
    with pytest.raises(SystemExit) as end:
        check.build_checks(CheckOptions(mask_flags="--quantile 30"))
    assert end.value.code == 2
    assert "--quantile: 30.0 is out of range" in capsys.readouterr().err


@pytest.mark.slow
def test_all_problems_of_a_run_are_listed_at_once(tmp_path):
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
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    for message in (
        "PROBLEM: sam.pth: no such file",
        "PROBLEM: none.pth: no such file",
        "PROBLEM: val: no slide",
        "129025.1 GB will be written",
        "left out (a): no outlines",
        "left out (c): not listed",
    ):
        assert message in result.stdout
    assert result.returncode == 1
    assert result.stderr.startswith(
        "error: 4 problems would stop this run, see the list above; first sam.pth: no"
    )
    assert result.stderr.count("\n") == 1


WITHOUT_TORCH = """
import sys
import check
check.main(check.CheckOptions(
    dataset_type="mini",
    device="cpu",
    sam_model_type="vit_demo",
    sam_checkpoint="sam.pth",
    classifier_flags="--pretrained none",
))
print("torch" in sys.modules)
"""


def test_a_run_whose_weights_were_loaded_before_is_checked_without_importing_pytorch(tmp_path):
    write_patches(tmp_path / "dataset" / "mini")
    # No reader of weights would take this for a file of SAM.
    (tmp_path / "sam.pth").write_bytes(b"weights")
    record = {
        "fingerprint": "0",
        "options": {
            "dataset_type": "mini",
            "sam_model_type": "vit_demo",
            "sam_checkpoint": "sam.pth",
        },
        "inputs": {"sam": sha256_of(tmp_path / "sam.pth")},
    }
    (tmp_path / "checkpoints" / "mini" / "stages").mkdir(parents=True)
    write_json(tmp_path / "checkpoints" / "mini" / "stages" / "decoder_0.json", record)
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "False\n"), result.stderr
