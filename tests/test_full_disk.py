"""A disk that runs full while patches are cut or results are written: one line, nothing lost, and
then it goes on.
"""

import importlib
import json
import re
import subprocess
import sys

import pytest

from epsam.config.command_line import parse
from epsam.data.images import write_rgb
from support.fake_tile_model import draw_slide, write_lossless_slide
from support.mini import REPOSITORY, smaller_sam, write_random_sam, write_slides
from support.random_run import write_random_run
from support.small_disk import KINDS, digests

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    (tmp_path / "disk").mkdir()
    with smaller_sam():
        yield tmp_path


def run_stage(stage, flags):
    importlib.import_module(stage).main(parse(stage, KINDS[stage], flags))


def on_small_disks(folder, stage, step, flags):
    """What happened on each disk but the last, which was large enough; and what an undisturbed run
    leaves.
    """
    command = [
        "unshare",
        "-rm",
        sys.executable,
        f"{REPOSITORY}/tests/support/small_disk.py",
        stage,
        str(step),
        *flags,
    ]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    *trials, last = json.loads(result.stdout)
    for trial in trials:
        assert re.fullmatch(
            r"disk/\S+: no space left; free some and run the same command again", trial["message"]
        )
        assert (trial["again"], trial["after"]) == ("", last["full"])
    return trials, last["full"]


def test_cutting_on_a_full_disk_leaves_the_patches_that_were_there(folder):
    write_slides(folder / "before" / "mini")
    flags = ["--dataset_type", "mini", "--patch_size", "64", "--workers", "1"]
    run_stage("extract_patches", [*flags, "--stride", "64", "--dataset_root", "before"])
    before = digests(folder / "before")
    trials, after = on_small_disks(
        folder,
        "extract_patches",
        70,
        [*flags, "--stride", "32", "--replace", "--dataset_root", "disk"],
    )
    assert len(trials) > 5
    assert {".lock", "thumbnails", "image"} <= {
        part for trial in trials for part in re.split("[/:]", trial["message"])
    }
    assert all(trial["full"] == before for trial in trials)
    assert before.keys() != after.keys()


def write_run(folder):
    """A run of random weights; the flags of infer.py that go with it."""
    write_random_sam(folder / "sam.pth")
    write_random_run(folder / "run", folder / "sam.pth")
    return [
        "--dataset_type",
        "mini",
        "--run",
        "run",
        "--checkpoint_root",
        ".",
        "--sam_model_type",
        "vit_demo",
        "--sam_checkpoint",
        "sam.pth",
        "--device",
        "cpu",
        "--no-classifier_gate",
        "--test_dataset_dir",
        "data",
    ]


def write_data(folder, kind, tumour):
    for number in range(2):
        pixels = draw_slide(64, 64 + 16 * number, [(0, 0, 64, 64)], [(20, 20, tumour, tumour)])
        if kind == "slide":
            write_lossless_slide(folder / "images" / f"s{number}.tif", pixels)
        else:
            write_rgb(folder / f"s{number}.png", pixels)


@pytest.mark.parametrize(("kind", "step"), [("image", 320), ("slide", 2400)])
def test_results_on_a_full_disk_are_whole_old_ones_or_whole_new_ones(folder, kind, step):
    flags = write_run(folder)
    write_data(folder / "data", kind, 40)
    run_stage("infer", [*flags, "--overlap", "0.5", "--output_dir", "before/out"])
    before = digests(folder / "before")
    write_data(folder / "data", kind, 60)
    trials, after = on_small_disks(folder, "infer", step, [*flags, "--output_dir", "disk/out"])
    assert trials
    assert before.keys() == after.keys()
    assert before != after
    for trial in trials:
        assert trial["full"].keys() == after.keys()
        for name, digest in trial["full"].items():
            assert digest in (before[name], after[name])
