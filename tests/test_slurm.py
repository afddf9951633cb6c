"""The job arrays of docs/slurm.md, submitted to a stand-in that starts their tasks as Slurm
does.
"""

import re
import shlex
import signal
import subprocess

import pytest

from epsam.config.classifier import ClassifierOptions
from epsam.config.command_line import parse
from epsam.config.decoder import FinetuneOptions
from epsam.config.inference import InferOptions
from epsam.config.patches import PatchOptions
from epsam.core.shards import Shard
from support.mini import REPOSITORY

TEXT = (REPOSITORY / "docs" / "slurm.md").read_text("utf-8")
SCRIPTS = dict(re.findall(r"^`(\w+\.sbatch)`\n\n```bash\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE))
BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
SUBMIT = next(block for block in BLOCKS if block.startswith("export"))
TRAINING_FLAGS = {"--leaves", "--run"}
SLURM_FLAGS = {"--gres"}
SBATCH = """#!/bin/bash
script=${!#}
echo "$@" >> submitted
array=$(sed -n 's/^#SBATCH --array=1-//p' $script)
export SLURM_ARRAY_TASK_COUNT=${array:-1}
for SLURM_ARRAY_TASK_ID in $(seq $SLURM_ARRAY_TASK_COUNT); do
    export SLURM_ARRAY_TASK_ID
    bash -eu $script
done
echo 4711
"""
RECORDER = """#!/bin/bash
echo "$DATASET_TYPE|$TEST_DATASET_DIR|$OUTPUT_DIR|$INFER_FLAGS" >> calls
"""


def script(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def folder(tmp_path):
    """A folder in which infer.sh notes its settings."""
    script(tmp_path / "bin" / "sbatch", SBATCH)
    script(tmp_path / "infer.sh", RECORDER)
    for name, text in SCRIPTS.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def run(folder, command):
    subprocess.run(["bash", "-euc", f"PATH=$PWD/bin:$PATH; {command}"], cwd=folder, check=True)
    return [line.split("|") for line in (folder / "calls").read_text().splitlines()]


def test_the_array_runs_every_shard_once_and_then_the_merge(folder):
    calls = run(folder, SUBMIT)
    assert {tuple(call[:3]) for call in calls} == {("mine", "/data/slides", "/data/results")}
    parsed = [parse("infer", InferOptions, shlex.split(call[3])) for call in calls]
    assert [(options.shard, options.merge) for options in parsed] == [
        ("1/3", False),
        ("2/3", False),
        ("3/3", False),
        ("", True),
    ]
    assert [Shard.parse(options.shard).count for options in parsed[:3]] == [3, 3, 3]
    submitted = (folder / "submitted").read_text().splitlines()
    assert submitted == ["--parsable infer.sbatch", "--dependency=afterany:4711 merge.sbatch"]


@pytest.mark.parametrize(
    ("job", "stage", "kind"),
    [
        ("extract.sbatch", "extract_patches", PatchOptions),
        ("encode.sbatch", "finetune_decoder", FinetuneOptions),
    ],
)
def test_the_array_of_a_stage_runs_every_shard(folder, job, stage, kind):
    script(
        folder / "python",
        RECORDER.replace("$DATASET_TYPE|$TEST_DATASET_DIR|$OUTPUT_DIR|$INFER_FLAGS", "|||$*"),
    )
    text = SCRIPTS[job].replace(".venv/bin/python", "./python")
    (folder / job).write_text(text)
    calls = [
        shlex.split(call[3]) for call in run(folder, f"export DATASET_TYPE=mine; sbatch {job}")
    ]
    assert {call[0] for call in calls} == {f"src/{stage}.py"}
    parsed = [parse(stage, kind, call[1:]) for call in calls]
    assert [(options.dataset_type, options.shard) for options in parsed] == [
        ("mine", f"{i}/3") for i in (1, 2, 3)
    ]


@pytest.mark.parametrize("flag", sorted(TRAINING_FLAGS))
def test_flags_of_training_in_the_text_exist(flag):
    assert f"`{flag}`" in TEXT
    assert parse("train_classifier", ClassifierOptions, [flag, "4"])


@pytest.mark.parametrize("stage", [("infer", InferOptions), ("extract_patches", PatchOptions)])
def test_flags_in_the_text_exist(stage):
    for flag in set(re.findall(r"`(--[a-z_]+)", TEXT)) - TRAINING_FLAGS - SLURM_FLAGS:
        arguments = [flag, "1/3"] if flag == "--shard" else [flag]
        assert parse(*stage, arguments)


TRAINING = """#!/bin/bash
trap 'echo saved >> calls; exit 130' TERM
echo "started $DATASET_TYPE"
sleep 30 & wait $!
"""


def start_training(folder, text):
    script(folder / "train.sh", text)
    script(folder / "bin" / "scontrol", '#!/bin/bash\necho "$@" >> calls\n')
    return subprocess.Popen(
        ["bash", "-c", "PATH=$PWD/bin:$PATH SLURM_JOB_ID=12 exec bash train.sbatch"],
        cwd=folder,
        env={"DATASET_TYPE": "mine", "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_training_whose_time_is_over_saves_its_state_and_is_queued_again(folder):
    process = start_training(folder, TRAINING)
    assert process.stdout.readline() == "started mine\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == 0
    assert (folder / "calls").read_text().splitlines() == ["saved", "requeue 12"]


def test_a_training_that_fails_is_a_failed_job_and_not_queued_again(folder):
    process = start_training(folder, "#!/bin/bash\nexit 1\n")
    assert process.wait(timeout=300) == 1
    assert not (folder / "calls").exists()
