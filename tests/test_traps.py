"""The moments at which resuming is known to go wrong, each hit on purpose: killed there and run
again, a stage leaves the same bits as one that was left alone.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from functools import partial

import pytest

from support.kill_train import fingerprints
from support.mini import REPOSITORY, smaller_sam, write_patches, write_random_sam
from support.trapped import (
    STAGES,
    Kill,
    add_flags,
    flags_of,
    forget_place,
    jump_in_time,
    repeat_from_record,
    run_stage,
)

pytestmark = [pytest.mark.slow, pytest.mark.long]

COUNTS = {"train": (4, 3), "val": (2, 2), "test": (0, 0)}
FIT, VALIDATE = "epsam.engine.fit:_step", "epsam.training.decoder:score_validation"


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    """Stage → a folder as it is before that stage, in which nothing was ever interrupted; "end" →
    after the last.
    """
    root, copies = tmp_path_factory.mktemp("quiet"), tmp_path_factory.mktemp("snapshots")
    write_patches(root / "dataset" / "mini", counts=COUNTS)
    with smaller_sam():
        write_random_sam(root / "random_sam.pth")
    for stage in STAGES:
        shutil.copytree(root, copies / stage)
        assert run_stage(root, stage) == 0
    shutil.copytree(root, copies / "end")
    return dict(
        zip([*STAGES, "end"], [*(copies / stage for stage in STAGES), copies / "end"], strict=True)
    )


def after(stage, snapshots):
    names = list(snapshots)
    return fingerprints(snapshots[names[names.index(stage) + 1]])


@pytest.fixture
def folder(snapshots, tmp_path):
    def copied(stage):
        return shutil.copytree(snapshots[stage], tmp_path / "run")

    return copied


# Epochs of the classifier have four steps, those of a decoder two.
@pytest.mark.parametrize(
    ("stage", "kills"),
    [
        ("train_classifier", [Kill(call=FIT, number=6)]),
        ("train_classifier", [Kill(call=FIT, number=6, after=True)]),
        ("train_classifier", [Kill(call=FIT, number=7), Kill(call=FIT, number=2)]),
        ("train_classifier", [Kill(call=FIT, number=8, after=True)]),
        ("train_classifier", [Kill(call=FIT, number=9)]),
        ("train_classifier", [Kill(file="resnet_adl.pth", after=True)]),
        ("generate_initial_masks", [Kill(file="masks/initial/train/", number=2)]),
        ("generate_initial_masks", [Kill(file="activation/val.npz")]),
        ("finetune_decoder", [Kill(file=".npy", number=3)]),
        ("finetune_decoder", [Kill(call=FIT, number=3, after=True), Kill(call=FIT, number=1)]),
        ("finetune_decoder", [Kill(call=VALIDATE, number=2)]),
        (
            "finetune_decoder",
            [Kill(file="masks/iter_0/", number=2), Kill(file="pseudo_labels.csv")],
        ),
        ("finetune_decoder", [Kill(file="stages/decoder_0.json")]),
        ("retrain_decoder", [Kill(call="epsam.training.rounds:DecoderRound", number=2)]),
        (
            "retrain_decoder",
            [Kill(file="masks/iter_2/", number=2), Kill(file="stages/decoder_2.json")],
        ),
    ],
    ids=[
        "epoch 2",
        "between optimiser and learning rate",
        "twice in an epoch",
        "end of an epoch",
        "start of an epoch",
        "weights without a completion record",
        "initial masks",
        "maps",
        "embeddings",
        "decoder, twice",
        "validation",
        "pseudo-labels",
        "no completion record yet",
        "between rounds",
        "last round",
    ],
)
def test_a_kill_at_a_known_trap_changes_nothing(snapshots, folder, stage, kills):
    run = folder(stage)
    for kill in kills:
        assert run_stage(run, stage, kill.arm) == -signal.SIGKILL
    assert run_stage(run, stage) == 0
    assert fingerprints(run) == after(stage, snapshots)


@pytest.mark.parametrize("stage", ["train_classifier", "finetune_decoder"])
def test_a_resume_that_forgets_its_step_is_noticed(snapshots, folder, stage):
    run = folder(stage)
    assert run_stage(run, stage, Kill(call=FIT, number=4).arm) == -signal.SIGKILL
    assert run_stage(run, stage, forget_place) == 0
    assert fingerprints(run) != after(stage, snapshots)


@pytest.mark.parametrize("stage", list(STAGES))
def test_a_clock_that_jumps_changes_nothing(snapshots, folder, stage):
    run = folder(stage)
    for number, path in enumerate(sorted(path for path in run.rglob("*") if path.is_file())):
        moment = (1, 4_000_000_000)[number % 2]
        os.utime(path, (moment, moment))
    if stage != "generate_initial_masks":
        assert run_stage(run, stage, jump_in_time, Kill(call=FIT, number=3).arm) == -signal.SIGKILL
    assert run_stage(run, stage, jump_in_time) == 0
    assert fingerprints(run) == after(stage, snapshots)


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("train_classifier", "train_classifier"),
        ("generate_initial_masks", "generate_initial_masks"),
        ("finetune_decoder", "decoder_0"),
        ("retrain_decoder", "decoder_2"),
    ],
)
def test_the_record_is_enough_to_repeat_a_stage_bit_for_bit(snapshots, folder, stage, name):
    run, record = folder(stage), snapshots["end"] / "checkpoints" / "mini" / "record.json"
    assert run_stage(run, stage, partial(repeat_from_record, record, name, stage)) == 0
    assert fingerprints(run) == after(stage, snapshots)


def test_changed_pixels_and_changed_ground_truth_are_other_inputs(snapshots, folder):
    run = folder("end")
    for split in ("train", "val"):
        one, two = sorted((run / "dataset" / "mini" / split / "mask").iterdir())[:2]
        one.write_bytes(two.read_bytes())
        (run / "checkpoints" / "mini" / "panels" / "decoder_0.png").unlink(missing_ok=True)
        # Finished work is replaced on request alone.
        assert run_stage(run, "finetune_decoder") == 1
        replace = partial(add_flags, "finetune_decoder", "--replace")
        assert run_stage(run, "finetune_decoder", replace) == 0
        assert (run / "checkpoints" / "mini" / "panels" / "decoder_0.png").is_file()


def test_fewer_rounds_with_other_flags_leave_what_a_fresh_run_leaves(snapshots, tmp_path):
    left = []
    for number, begin in enumerate(("end", "finetune_decoder")):
        run = shutil.copytree(snapshots[begin], tmp_path / str(number))
        for stage, flags in (
            ("finetune_decoder", "--lr 1e-3 --replace"),
            ("retrain_decoder", "--lr 1e-3 --n_iter 1"),
        ):
            assert run_stage(run, stage, partial(add_flags, stage, flags)) == 0
        entries = json.loads((run / "checkpoints" / "mini" / "record.json").read_text("utf-8"))
        left.append(fingerprints(run) | {"record.json": sorted(entries)})
    assert left[0] == left[1]


@pytest.mark.parametrize("masks", ["initial/train", "initial/val", "iter_0", "iter_1"])
def test_one_bit_flipped_in_a_mask_is_noticed_and_the_mask_made_again(snapshots, folder, masks):
    run = folder("end")
    mask = sorted((run / "checkpoints" / "mini" / "masks" / masks).rglob("*.png"))[0]
    content = bytearray(mask.read_bytes())
    content[len(content) // 2] ^= 1
    mask.write_bytes(content)
    assert fingerprints(run) != fingerprints(snapshots["end"])
    for stage in STAGES:
        assert run_stage(run, stage) == 0
    assert fingerprints(run) == fingerprints(snapshots["end"])


def test_another_test_patch_fits_no_decoder_again(snapshots, folder):
    run = folder("end")
    shutil.copytree(
        run / "dataset" / "mini" / "val", run / "dataset" / "mini" / "test", dirs_exist_ok=True
    )
    decoders = sorted((run / "checkpoints" / "mini").glob("*decoder*.pth"))
    before = [path.stat().st_mtime_ns for path in decoders]
    assert run_stage(run, "train_classifier") == 1
    # The stages after it need no further --replace.
    assert (
        run_stage(run, "train_classifier", partial(add_flags, "train_classifier", "--replace")) == 0
    )
    for stage in STAGES:
        assert run_stage(run, stage) == 0
    assert list((run / "checkpoints" / "mini" / "masks" / "initial" / "test").iterdir())
    assert len(before) == 3
    assert [path.stat().st_mtime_ns for path in decoders] == before


@pytest.mark.parametrize(
    ("stage", "earlier"),
    [
        ("generate_initial_masks", "train_classifier"),
        ("finetune_decoder", "generate_initial_masks"),
        ("retrain_decoder", "decoder_0"),
    ],
)
def test_after_a_degenerate_output_a_stage_refuses_before_it_encodes_unless_allowed(
    snapshots, folder, stage, earlier
):
    run = folder(stage)
    record = run / "checkpoints" / "mini" / "stages" / f"{earlier}.json"
    record.write_text(
        json.dumps(json.loads(record.read_text("utf-8")) | {"trouble": "all is lost"}), "utf-8"
    )
    shutil.rmtree(run / "dataset" / "mini" / "embeddings", ignore_errors=True)
    before = fingerprints(run)
    assert run_stage(run, stage, partial(add_flags, stage, "--no-allow_degenerate")) == 1
    assert fingerprints(run) == before
    assert run_stage(run, stage, partial(add_flags, stage, "--allow_degenerate")) == 0
    assert fingerprints(run).keys() >= after(stage, snapshots).keys()


AS_A_COMMAND = """
import runpy, sys
from support.mini import smaller_sam
del sys.argv[0]
with smaller_sam():
    runpy.run_path(sys.argv[0], run_name="__main__")
"""
FULL = """
set -e
mount -t tmpfs -o size={size} none checkpoints
cp -r {before}/. checkpoints
{command} && exit 5
mount -o remount,size=2g checkpoints
{command}
mkdir {after}
cp -r checkpoints/. {after}
"""


def test_a_disk_that_runs_full_leaves_the_last_state_and_one_clear_line(
    snapshots, folder, tmp_path
):
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    run, stage = folder("finetune_decoder"), "finetune_decoder"
    # Room for the progress after one epoch, but not for the next one beside it.
    held = sum(path.stat().st_size for path in (run / "checkpoints").rglob("*") if path.is_file())
    command = shlex.join(
        [sys.executable, "-c", AS_A_COMMAND, f"{REPOSITORY}/src/{stage}.py", *flags_of(stage)]
    )
    result = subprocess.run(
        [
            "unshare",
            "-rm",
            "bash",
            "-c",
            FULL.format(
                size=held + 100_000_000,
                command=command,
                before=snapshots[stage] / "checkpoints",
                after=tmp_path / "after",
            ),
        ],
        cwd=run,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{REPOSITORY}/src:{REPOSITORY}/tests",
        },
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.fullmatch(
        r"error: checkpoints/mini/\S+: no space left; free some and run the same command again\n",
        result.stderr,
    )
    assert "decoder_0: going on after epoch 1" in result.stdout
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(tmp_path / "after", run / "checkpoints")
    assert fingerprints(run) == after(stage, snapshots)
