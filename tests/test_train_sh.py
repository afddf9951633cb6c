"""train.sh and infer.sh with a Python that only prints its arguments."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import venv

import pytest

from epsam.pipeline import STAGES as ALL_STAGES
from epsam.pipeline import recipe_stages
from epsam.recipes import RECIPES
from support.mini import REPOSITORY

HELPERS = ("src/environment.sh", "src/variables.sh", "src/run_stages.sh")
STAGES_WITH_METRICS = ["classifier", "mask", "decoder", "retrain", "segmenter", "box", "evaluate"]
STAGES = ["check", *(stage.name for stage in recipe_stages())]


@pytest.fixture
def run_script(tmp_path):
    """Run a script, and get its output: a line for each call of Python, each word of it in <>."""
    (tmp_path / "src").mkdir()
    for name in ("train.sh", "ablate.sh", "infer.sh", "view.sh", *HELPERS):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(
        "#!/bin/bash\n[[ $1 == -c ]] || { printf '<%s>' \"$@\"; echo; } | tee -a calls.txt\n"
        '[[ $1 != "$FAILING" ]] || { echo error: so it is >&2; exit ${CODE:-1}; }\n'
    )
    python.chmod(0o755)

    def run(script, cwd=tmp_path, arguments=(), **variables):
        environment = {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "VIRTUAL_ENV": str(tmp_path),
            **variables,
        }
        return subprocess.run(
            ["bash", str(tmp_path / script), *arguments],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_odd_names_reach_every_stage_as_one_word(run_script, tmp_path):
    result = run_script(
        "train.sh",
        DATASET_TYPE="my data",
        RUN="-rf ünï/x",
        SAM_CHECKPOINT="/a b/sam.pth",
        MASK_FLAGS="--quantile 0.3 --rotations 1",
    )
    lines = {
        line[len("<src/") :].partition(".py>")[0]: line
        for line in result.stdout.splitlines()
        if "<src/" in line
    }
    assert list(lines) == STAGES
    assert all("<--dataset_type=my data>" in line for line in lines.values())
    assert all(
        ("<--run=-rf ünï/x>" in line) == (stage != "extract_patches")
        for stage, line in lines.items()
    )
    with_sam = {stage for stage, line in lines.items() if "<--sam_checkpoint=/a b/sam.pth>" in line}
    assert with_sam == {"check", "finetune_decoder", "retrain_decoder", "evaluate"}
    assert "<--quantile><0.3><--rotations><1>" in lines["generate_initial_masks"]
    assert "<--mask_flags=--quantile 0.3 --rotations 1>" in lines["check"]
    assert "my data" in (tmp_path / "logging_-rf ünï_x.txt").read_text("utf-8")


@pytest.mark.parametrize(
    ("script", "lacking"),
    [
        ("infer.sh", "cv2, imagecodecs, jinja2, .*segment_anything"),
        ("test.sh", "cv2, .*, tqdm, hypothesis, .*xdist"),
        # The folder to look at is no list of requirements.
        ("view.sh my/results", "cv2, imagecodecs, jinja2, .*segment_anything"),
    ],
)
def test_an_environment_that_lacks_packages_is_an_error_that_names_them(tmp_path, script, lacking):
    script, *arguments = script.split()
    venv.create(tmp_path / "env", with_pip=False)
    for name in (script, *HELPERS):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    environment = {
        "PATH": f"{tmp_path / 'env/bin'}:{os.environ['PATH']}",
        "VIRTUAL_ENV": str(tmp_path / "env"),
    }
    result = subprocess.run(
        ["bash", script, *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    output = result.stdout + result.stderr
    requirements = "requirements-test.txt" if script == "test.sh" else "requirements.txt"
    assert re.search(
        rf"error: the active environment lacks {lacking}.*; run: pip install -r {requirements}\n",
        output,
    )


@pytest.fixture
def bare(tmp_path):
    """infer.sh on a machine with python3 and no environment: output, and the calls of the Python
    that it makes.
    """
    (tmp_path / "src").mkdir()
    (tmp_path / "bin").mkdir()
    for name in ("infer.sh", *HELPERS, "requirements.txt", "requirements-test.txt"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    python = '#!/bin/bash\necho "$*" >> calls.txt\n[[ $* != *pip* || -z $NO_INDEX ]] || exit 1\n'
    python3 = tmp_path / "bin" / "python3"
    python3.write_text(
        f"#!/bin/bash\n[[ $1 == -m ]] || exit ${{OLD:-0}}\n"
        "[[ $* == '-m venv --clear .venv' ]] || exit 9\n"
        "mkdir -p .venv/bin\n"
        f"cat > .venv/bin/python <<'END'\n{python}END\nchmod +x .venv/bin/python\n"
    )
    python3.chmod(0o755)

    def run(**variables):
        (tmp_path / "calls.txt").write_text("")
        result = subprocess.run(
            ["bash", "infer.sh"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", **variables},
        )
        return result, [
            " ".join(call.split()[:3]) for call in (tmp_path / "calls.txt").read_text().splitlines()
        ]

    return run


INSTALL, INFER = "-m pip install", "src/infer.py --dataset_type=demo --run=demo"


def test_a_bare_machine_gets_an_environment_once_and_again_when_the_requirements_change(
    bare, tmp_path
):
    assert bare()[1] == [INSTALL, INFER]
    assert bare()[1] == [INFER]
    with (tmp_path / "requirements.txt").open("a") as stream:
        stream.write("another>=1\n")
    assert bare()[1] == [INSTALL, INFER]


def test_an_environment_whose_python_is_gone_is_made_again(bare, tmp_path):
    bare()
    python = tmp_path / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(tmp_path / "removed")
    assert bare()[1] == [INSTALL, INFER]


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_active_environment_that_is_gone_is_one_line(bare, tmp_path, variable):
    result, calls = bare(**{variable: "/gone"})
    assert (result.returncode, calls) == (1, [])
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("error: ")]
    assert "environment, /gone, is gone or has no python; deactivate it" in line


def test_an_active_python_that_does_not_run_is_said(bare, tmp_path):
    python = tmp_path / "bin" / "python"
    python.write_text("#!/bin/bash\necho no such library >&2\nexit 127\n")
    python.chmod(0o755)
    result, _ = bare(VIRTUAL_ENV=str(tmp_path))
    assert result.returncode == 1
    assert f"error: {python} of the active environment does not run" in result.stdout


def test_an_installation_that_fails_is_an_error_and_tried_again(bare):
    result, calls = bare(NO_INDEX="1")
    assert (result.returncode, calls) == (1, [INSTALL])
    assert (
        "error: pip could not install requirements.txt; see its message above"
        in result.stdout + result.stderr
    )
    assert bare()[1] == [INSTALL, INFER]


def test_a_python_that_is_too_old_is_an_error(bare):
    result, calls = bare(OLD="1")
    assert (result.returncode, calls) == (1, [])
    assert "error: Python 3.10 or newer is needed, found" in result.stdout + result.stderr


def test_the_last_line_says_how_a_script_alone_is_run(run_script, tmp_path):
    last = run_script("train.sh", DATASET_TYPE="x", RUN="r").stdout.splitlines()[-1]
    assert last.endswith("bin/python src/compare.py r OTHER_RUN (--help: its flags)")


def test_a_stage_that_fails_ends_the_run_with_its_code(run_script):
    result = run_script("train.sh", DATASET_TYPE="x", FAILING="src/train_classifier.py")
    assert result.returncode == 1
    assert "generate_initial_masks" not in result.stdout


@pytest.mark.parametrize(
    ("failing", "code", "reported"),
    [
        ("extract_patches", 1, False),
        ("train_classifier", 2, True),
        ("retrain_decoder", 1, True),
        ("retrain_decoder", 137, True),
        ("retrain_decoder", 130, False),
        ("report", 1, True),
    ],
)
def test_a_run_that_fails_is_reported_all_the_same_and_ends_with_the_stages_error(
    run_script, tmp_path, failing, code, reported
):
    result = run_script(
        "train.sh", DATASET_TYPE="my data", FAILING=f"src/{failing}.py", CODE=str(code)
    )
    calls = (tmp_path / "calls.txt").read_text("utf-8").splitlines()
    assert (result.returncode, result.stdout.splitlines()[-1]) == (code, "error: so it is")
    assert ("<src/report.py><--dataset_type=my data><--run=my data>" in calls) == reported
    assert not any("<src/evaluate.py>" in call for call in calls) or failing == "report"


@pytest.mark.parametrize(
    ("script", "stage", "log"),
    [
        ("train.sh", "train_classifier", "logging_demo.txt"),
        ("ablate.sh", "ablate", "logging_ablation-demo.txt"),
        ("infer.sh", "infer", "logging_inference.txt"),
    ],
)
@pytest.mark.parametrize("send", [os.killpg, os.kill])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_waits_for_what_the_stage_has_to_say(
    run_script, tmp_path, number, send, script, stage, log
):
    python = tmp_path / "bin" / "python"
    python.write_text(
        f"#!/bin/bash\n[[ $1 == src/{stage}.py ]] || exit 0\n"
        "trap 'echo all saved; exit 130' INT TERM USR1\necho begun\nwhile :; do sleep 0.05; done\n"
    )
    process = subprocess.Popen(
        ["bash", script],
        cwd=tmp_path,
        text=True,
        start_new_session=True,
        env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "VIRTUAL_ENV": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert "begun\n" in iter(process.stdout.readline, "")
    send(process.pid, number)
    rest, _ = process.communicate(timeout=120)
    assert (process.returncode, rest.splitlines()[-1]) == (130, "all saved")
    assert "all saved" in (tmp_path / log).read_text()


def test_without_sams_variables_the_preset_decides(run_script):
    assert "--sam_" not in run_script("train.sh", DATASET_TYPE="x").stdout
    assert "make_demo_slides" in run_script("train.sh").stdout


@pytest.mark.parametrize("weights", ["/a b/sam.pth", "/Ann's \"b\"/it's $HOME\\'.pth", "''"])
def test_the_ablation_takes_odd_names_too(run_script, tmp_path, weights):
    result = run_script(
        "ablate.sh",
        DATASET_TYPE="my data",
        NAME="-n a/b",
        ROWS="paper",
        SAM_MODEL_TYPE="vit_b",
        SAM_CHECKPOINT=weights,
    )
    cut, ablate = (line for line in result.stdout.splitlines() if "<src/" in line)
    assert cut == "<src/extract_patches.py><--dataset_type=my data>"
    assert ablate.startswith("<src/ablate.py><--dataset_type=my data><--name=-n a/b>")
    sam = ablate.split("<--sam_flags=")[1].split(">")[0]
    assert shlex.split(sam) == ["--sam_model_type=vit_b", f"--sam_checkpoint={weights}"]
    assert "my data" in (tmp_path / "logging_-n a_b.txt").read_text("utf-8")


def test_inference_takes_odd_names_too(run_script):
    (line,) = (
        line
        for line in run_script(
            "infer.sh", RUN="a b", TEST_DATASET_DIR="-x y", INFER_FLAGS="--mpp 0.5"
        ).stdout.splitlines()
        if "<src/" in line
    )
    assert all(
        word in line
        for word in ("<--run=a b>", "<--test_dataset_dir=-x y>", "<--output_dir=infer_output/a b>")
    )
    assert line.endswith("<--mpp><0.5>")


@pytest.mark.parametrize(("chosen", "stages"), [("1", STAGES[2:7]), ("", [])])
def test_tensorboard_is_for_every_stage_with_metrics_or_panels(run_script, chosen, stages):
    result = run_script("train.sh", DATASET_TYPE="x", TENSORBOARD=chosen, DECODER_FLAGS="--lr 0.5")
    lines = {
        line[len("<src/") :].partition(".py>")[0]: line
        for line in result.stdout.splitlines()
        if "<src/" in line
    }
    assert list(lines) == STAGES
    assert [stage for stage, line in lines.items() if line.count("<--tensorboard>") == 1] == stages
    assert all("<--lr><0.5>" in lines[stage] for stage in ("finetune_decoder", "retrain_decoder"))
    # The check beforehand gets each stage's flags as one word; those of segmenters are another
    # method's.
    expected = [STAGES_WITH_METRICS, []][not chosen]
    checked = re.findall(r"<--(\w+)_flags=[^>]* --tensorboard>", lines["check"])
    assert checked == expected


def test_relative_paths_are_those_of_the_folder_that_the_user_stands_in(run_script, tmp_path):
    folder = tmp_path / "my place"
    folder.mkdir()
    output = run_script("infer.sh", folder, TEST_DATASET_DIR="a b", OUTPUT_DIR="/out").stdout
    assert f"<--test_dataset_dir={folder}/a b><--output_dir=/out>" in output
    # What is not given stays in the project's folder.
    assert "<--output_dir=infer_output/x>" in run_script("infer.sh", folder, RUN="x").stdout


def test_corrections_make_the_rounds_again_in_a_run_of_their_own(run_script, tmp_path):
    folder = tmp_path / "my place"
    folder.mkdir()
    given = {"CORRECTIONS": "c d", "CORRECTION_SLIDES": "s t"}
    lines = run_script("train.sh", folder, **given).stdout.splitlines()
    calls = {line.split(".py")[0]: line for line in lines if line.startswith("<src/")}
    assert "<--run=demo-corrected><--source_run=demo>" in calls["<src/reuse_run"]
    retrain = calls["<src/retrain_decoder"]
    assert f"<--corrections={folder}/c d><--correction_slides={folder}/s t>" in retrain
    for name in ("train_classifier", "finetune_decoder", "evaluate"):
        assert "<--run=demo-corrected>" in calls[f"<src/{name}"]
        assert "--corrections" not in calls[f"<src/{name}"]
    names = [line.split(".py")[0] for line in lines if line.startswith("<src/")]
    assert names.index("<src/reuse_run") < names.index("<src/train_classifier")
    assert "reuse_run" not in run_script("train.sh").stdout

    refused = run_script("train.sh", CORRECTIONS="c", METHOD="unet")
    assert refused.returncode == 1
    assert "METHOD unet: has no rounds, which CORRECTIONS are for" in refused.stderr
    alone = run_script("train.sh", CORRECTION_SLIDES="s")
    assert alone.returncode == 1
    assert "CORRECTION_SLIDES s: goes with CORRECTIONS" in alone.stderr


def test_the_viewer_takes_a_folder_and_flags_as_they_are(run_script, tmp_path):
    script = f"<{tmp_path}/src/view.py>"
    output = run_script("view.sh", RUN="a b").stdout
    assert f"{script}<{tmp_path}/infer_output/a b>" in output
    # Relative to the folder that the user stands in, which view.py works in.
    folder = tmp_path / "my place"
    folder.mkdir()
    output = run_script("view.sh", folder, ["some results", "--port", "8765"]).stdout
    assert f"{script}<some results><--port><8765>" in output
    assert (folder / "calls.txt").is_file()
    assert f"{script}<{tmp_path}/infer_output/demo><--port=1>" in (
        run_script("view.sh", arguments=["--port=1"]).stdout
    )


def test_roots_reach_every_stage_and_the_log_its_folder(run_script, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    roots = {"DATA_ROOT": "data", "CHECKPOINT_ROOT": "/runs", "LOG_DIR": "my logs"}
    result = run_script("train.sh", folder, DATASET_TYPE="x", **roots)
    lines = [line for line in result.stdout.splitlines() if "<src/" in line]
    assert len(lines) == len(STAGES)
    for line in lines:
        assert f"<--dataset_root={folder}/data>" in line
        assert ("<--checkpoint_root=/runs>" in line) == ("extract_patches" not in line)
    assert (folder / "my logs" / "logging_x.txt").read_text("utf-8") == result.stdout
    demo = run_script("train.sh", folder, **roots).stdout.splitlines()
    assert f"<src/make_demo_slides.py><--output_dir={folder}/data/demo>" in demo


@pytest.mark.parametrize("script", ["train.sh", "infer.sh", "ablate.sh"])
def test_a_log_that_cannot_be_written_is_one_line(run_script, tmp_path, script):
    (tmp_path / "file").touch()
    result = run_script(script, LOG_DIR="file/below", DATASET_TYPE="x")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "cannot be written; change the folder's permissions, or give another" in result.stderr


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("DATASETTYPE", "DATASET_TYPE"),
        ("dataset_type", "DATASET_TYPE"),
        ("DATASET", "DATASET_TYPE"),
        ("DATSAET_TYPE", "DATASET_TYPE"),
        ("SEEDS", "SEED"),
        ("run", "RUN"),
        ("DECODERFLAG", "DECODER_FLAGS"),
    ],
)
def test_a_misspelt_variable_is_told_in_the_first_line_and_in_the_log(
    run_script, tmp_path, variable, meant
):
    result = run_script("train.sh", **{"DATASET_TYPE": "x", variable: "y"})
    lines = result.stdout.splitlines()
    assert lines[0] == f"warning: {variable} is no variable of train.sh; did you mean {meant}?"
    assert lines[1] == "dataset x, method ep_sam, run x, SAM of the preset, device auto"
    assert (tmp_path / "logging_x.txt").read_text("utf-8") == result.stdout


@pytest.mark.parametrize("script", ["train.sh", "infer.sh", "ablate.sh"])
def test_variables_of_others_are_passed_over(run_script, script):
    others = ("LC_NAME", "LOGNAME", "RUNNER", "NODE", "ROS_ROOT", "OMP_NUM_THREADS", "DATE")
    result = run_script(script, DATASET_TYPE="x", **dict.fromkeys(others, "y"))
    assert "did you mean" not in result.stdout


@pytest.mark.parametrize(("chosen", "is_passed"), [("1", True), ("0", False), ("", False)])
def test_replace_reaches_every_stage(run_script, chosen, is_passed):
    for script in ("train.sh", "ablate.sh"):
        result = run_script(script, DATASET_TYPE="x", REPLACE=chosen)
        calls = [line for line in result.stdout.splitlines() if "<src/" in line]
        assert len(calls) >= 2
        assert all(("<--replace>" in line) == is_passed for line in calls)


@pytest.mark.parametrize("method", RECIPES)
def test_a_method_runs_the_stages_of_its_recipe_with_the_flags_of_the_user(
    run_script, tmp_path, method
):
    variables = {stage.flags_variable for stage in ALL_STAGES.values() if stage.flags_variable}
    flags = {name: f"--of {name}" for name in variables}
    if method == "unet_pseudo":
        flags["FROM"] = "mine"
    result = run_script("train.sh", DATASET_TYPE="x", METHOD=method, **flags)
    assert result.returncode == 0, result.stderr
    calls = [line for line in result.stdout.splitlines() if line.startswith("<src/")]
    check, *stages = calls
    assert f"<--recipe={method}>" in check
    assert [line.partition(">")[0][1:] for line in stages] == [
        stage.script for stage in recipe_stages(method)
    ]

    run = "x" if method == "ep_sam" else f"x-{method}"
    for line, stage in zip(stages, recipe_stages(method), strict=True):
        assert (f"<--run={run}>" in line) == (stage.name != "extract_patches")
        if not stage.flags_variable:
            continue
        words = flags[stage.flags_variable].split()
        # The stages know the method's flags, which are in no line of the script.
        assert (f"<--recipe={method}>" in line) == (stage.name != "extract_patches")
        assert line.endswith("".join(f"<{word}>" for word in words))
        assert f"<--{stage.flags_option}={' '.join(words)}>" in check
    assert (tmp_path / f"logging_{run}.txt").is_file()


@pytest.mark.parametrize("preset", ["", "authors"])
def test_the_check_and_the_stages_of_a_run_take_the_constants_of_the_method(run_script, preset):
    result = run_script("train.sh", DATASET_TYPE="x", METHOD="gradcam", METHOD_PRESET=preset)
    words = f"<--recipe=gradcam><--method_preset={preset or 'default'}>"
    scripts = []
    for line in result.stdout.splitlines():
        if words in line:
            scripts.append(line.partition(">")[0][1:])
    assert scripts == [
        "src/check.py",
        "src/train_classifier.py",
        "src/generate_initial_masks.py",
        "src/evaluate.py",
    ]


@pytest.mark.parametrize("method", RECIPES)
def test_inference_of_a_method_takes_its_run_and_what_it_ends_with(run_script, method):
    result = run_script("infer.sh", DATASET_TYPE="x", METHOD=method)
    run = "x" if method == "ep_sam" else f"x-{method}"
    assert f"<--run={run}>" in result.stdout
    assert f"<--output_dir=infer_output/{run}>" in result.stdout
    assert f"<--recipe={method}>" in result.stdout


@pytest.mark.parametrize("given", ["", "vit_demo"])
def test_medsam_is_a_vit_b_whatever_sam_the_user_has(run_script, given):
    result = run_script("train.sh", METHOD="medsam_box", DATASET_TYPE="x", SAM_MODEL_TYPE=given)
    assert result.returncode == 0, result.stderr
    assert "vit_demo" not in result.stdout


@pytest.mark.parametrize("script", ["train.sh", "infer.sh"])
def test_an_unknown_method_is_refused_before_anything_runs(run_script, tmp_path, script):
    result = run_script(script, METHOD="unett")
    assert result.returncode == 1
    assert result.stderr.startswith("error: METHOD unett: no such method; use one of those beside")
    assert not (tmp_path / "calls.txt").exists()


def test_several_processes_are_started_for_the_stages_that_share_their_work(run_script):
    result = run_script("train.sh", DATASET_TYPE="x", GPUS="3")
    assert result.returncode == 0, result.stderr
    calls = [line for line in result.stdout.splitlines() if line.startswith("<src/")]
    started = [line for line in calls if line.startswith("<src/start_processes.py><3>")]
    assert [line.split("><")[2] for line in started] == [
        "src/train_classifier.py",
        "src/generate_initial_masks.py",
        "src/finetune_decoder.py",
        "src/retrain_decoder.py",
        "src/evaluate.py",
    ]
    assert len(calls) == len(STAGES)


@pytest.mark.parametrize("processes", ["0", "two", "-1", "1.5"])
def test_a_number_of_processes_that_is_none_is_one_line(run_script, processes):
    result = run_script("train.sh", DATASET_TYPE="x", GPUS=processes)
    assert result.returncode == 1
    assert result.stderr == (
        f"error: GPUS {processes}: no number of processes; give 1 or more, such as GPUS=2\n"
    )


def test_from_goes_with_the_method_that_needs_it_and_with_no_other(run_script):
    missing = run_script("train.sh", METHOD="unet_pseudo")
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: METHOD unet_pseudo: makes no pseudo-labels itself")
    assert "FROM=demo" in missing.stderr
    ignored = run_script("train.sh", FROM="mine")
    assert ignored.returncode == 1
    assert "error: FROM mine: goes with METHOD=unet_pseudo alone" in ignored.stderr
