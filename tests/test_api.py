"""docs/api.md does what it says, with the run of an older version that the fixtures hold."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from epsam.api import load_run
from epsam.core.errors import ImageError, WeightsError
from epsam.data.images import read_mask, read_rgb
from support.archives import unpack
from support.fake_tile_model import draw_slide, write_lossless_slide
from support.mini import REPOSITORY, smaller_sam

ARCHIVE = Path(__file__).with_name("fixtures") / "run_0.1.0.tar.xz"
BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (REPOSITORY / "docs" / "api.md").read_text(), re.M | re.S
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The run and its dataset under the names of the page, with a slide."""
    folder, before, threads = tmp_path_factory.mktemp("api"), os.getcwd(), torch.get_num_threads()
    unpack(ARCHIVE, folder)
    for parent in ("checkpoints", "dataset"):
        (folder / parent / "mini").rename(folder / parent / "demo")
    shutil.copy(folder / "coarse_sam.pth", folder / "checkpoints" / "sam_vit_demo.pth")
    image = draw_slide(200, 200, [(20, 20, 180, 180)], [(60, 60, 140, 140)])
    write_lossless_slide(folder / "dataset" / "demo" / "images" / "slide.tif", image)
    torch.set_num_threads(1)
    os.chdir(folder)
    with smaller_sam():
        yield folder
    os.chdir(before)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def run(folder):
    return load_run("checkpoints/demo", device="cpu")


def read_test_image(folder, name="p0_1"):
    return read_rgb(folder / "dataset" / "demo" / "test" / "image" / f"{name}.png")


def test_the_blocks_of_the_page_run_one_after_the_other(folder, capsys):
    names = {}
    for block in BLOCKS:
        # The old run has no resolution, as it has no slides.
        exec(block.replace('device="cpu")', 'device="cpu", mpp=0.5)', 1), names)
    assert names["output"].row["status"] == "done"
    assert {"mask.tif", "probability.tif", "slide.json"} <= {
        path.name for path in names["output"].folder.iterdir()
    }
    assert np.array_equal(read_mask(folder / "tumour.png"), names["result"].mask)
    printed = capsys.readouterr().out
    assert "(64, 64) float32" in printed


def test_an_image_is_segmented_as_infer_sh_does(folder, run):
    for name in ("p0_1", "p1_1"):
        mask = run.segment_image(read_test_image(folder, name), name, gate=False).mask
        expected = read_mask(folder / "infer_output" / "mask" / f"{name}.png")
        assert np.array_equal(mask, expected)


def test_points_lie_in_the_mask_of_the_cam_and_are_the_same_each_time(folder, run):
    image = read_test_image(folder)
    image_cam = run.cam(image)
    assert image_cam.cam.max() == pytest.approx(1)
    assert image_cam.mask.shape == (64, 64)
    points = run.prompts(image)
    assert len(points) == 5
    assert image_cam.mask[points[:, 1].astype(int), points[:, 0].astype(int)].all()
    assert np.array_equal(points, run.prompts(image))


def test_what_does_not_fit_is_one_line(folder, run):
    image = read_test_image(folder)
    with pytest.raises(ImageError, match=r"no RGB image; give \(height, width, 3\) uint8"):
        run.segment_image(image.astype(float))
    with pytest.raises(ImageError, match="crop it to 64×64"):
        run.prompts(image[:32])
    with pytest.raises(WeightsError, match="no such run; give a folder of checkpoints/"):
        load_run(folder / "checkpoints" / "nowhere")
    with pytest.raises(WeightsError, match="give --mpp"):
        run.segment_slide(folder / "dataset" / "demo" / "images" / "slide.tif", folder / "x")


@pytest.mark.slow
@pytest.mark.long
def test_the_wheel_holds_epsam_alone_and_can_be_imported(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.txt"):
        shutil.copy(REPOSITORY / name, source / name)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(REPOSITORY / "src", source / "src", ignore=ignore)
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", tmp_path / "site"]
    subprocess.run([*install, source], check=True, capture_output=True)
    top = {path.name for path in (tmp_path / "site").iterdir() if "dist-info" not in path.name}
    assert top == {"epsam"}
    # A template is no Python file: it is there if it is named as data of the package.
    report = "from epsam.report.training import TrainingResults, render_training_report"
    page = 'render_training_report(TrainingResults("a", [], [], [], {}))'
    code = f"import epsam.api; print(epsam.api.__file__); {report}; print({page})"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert result.stdout.startswith(str(tmp_path / "site"))
    assert "<h1>EP-SAM, run a</h1>" in result.stdout
