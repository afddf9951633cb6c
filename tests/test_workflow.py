"""The Snakefile, run for real where there is snakemake."""

import os
import shutil
import subprocess
import sys

import pytest

from support.fake_tile_model import draw_slide, write_lossless_slide
from support.mini import REPOSITORY, clone, run
from support.random_run import write_random_run
from support.untimed import contents

SNAKEMAKE = os.environ.get("SNAKEMAKE") or shutil.which("snakemake")


def write_slides(folder):
    for name in ("first", "the second"):
        image = draw_slide(130, 150, [(0, 0, 100, 90)], [(20, 20, 70, 60)])
        write_lossless_slide(folder / "slides" / f"{name}.tif", image)
    (folder / "slides" / "broken.tif").write_bytes(b"no slide")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(not SNAKEMAKE, reason="no snakemake, nor a path to it in SNAKEMAKE")
def test_a_job_for_each_slide_and_a_merge_leave_the_results_of_one_run(tmp_path):
    folder = clone(tmp_path, write_slides)
    shutil.copytree(REPOSITORY / "workflows", folder / "workflows")
    write_random_run(folder / "checkpoints" / "mini", folder / "random_sam.pth")
    # The reason of a failure names the file as the run was given it.
    slides = folder / "dataset" / "mini" / "slides"
    settings = {"TEST_DATASET_DIR": str(slides), "DEVICE": "cpu"}
    flags = "--no-classifier_gate --seed 22"
    result = run(folder, "./infer.sh", **settings, INFER_FLAGS=flags, OUTPUT_DIR="one")
    assert result.returncode == 0, result.stdout + result.stderr

    command = [
        SNAKEMAKE,
        *("--snakefile", "workflows/Snakefile", "--cores", "2", "--config"),
        *("dataset_type=mini", "run=mini", "slides=dataset/mini/slides", "output=jobs"),
        *("device=cpu", f"python={sys.executable}"),
        f"flags={flags} --sam_model_type vit_demo --sam_checkpoint random_sam.pth",
    ]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    jobs = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    assert jobs.returncode == 0, jobs.stdout + jobs.stderr
    assert contents(folder / "jobs") == contents(folder / "one")
    rows = (folder / "jobs" / "slides.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [
        ["broken", "failed"],
        ["first", "done"],
        ["the second", "done"],
    ]
