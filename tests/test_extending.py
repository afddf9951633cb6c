"""docs/extending.md does what it says: its files and table rows, put into a copy of src/, are all
that is needed.
"""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from support.mini import REPOSITORY, write_patches

PAGE = (REPOSITORY / "docs" / "extending.md").read_text("utf-8")
FILES = dict(
    re.findall(r"^`(src/epsam/\S+\.py)`\n\n```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
)
ROWS = re.findall(r"and in `([A-Z_]+)`[^\n]*:\n\n```python\n(.*?)```", PAGE, re.DOTALL)

USE = """
import numpy as np, torch
from epsam.config.command_line import parse
from epsam.cam.rotation import rotation_averaged_cam
from epsam.cam.postprocess import cam_to_mask
from epsam.weak.resnet import NetworkSpec, build_classifier
from epsam.config.classifier import ClassifierOptions
from epsam.config.decoder import FinetuneOptions
from epsam.config.masks import MaskOptions
from epsam.core.seeding import generator
from epsam.segment.sam.prompting.rules import PromptInputs, make_prompts, collate_inputs

activation = np.zeros((20, 20), np.float32)
activation[2:5, 3:9], activation[12:18, 10:16] = 0.4, 0.6
activation[4, 7], activation[15, 11], activation[9, 9] = 0.5, 0.9, 1.0
mask = activation > 0
mask[9, 9] = False
asked = parse("finetune_decoder", FinetuneOptions, ["--prompt", "peaks"])
inputs = collate_inputs([PromptInputs(activation, mask)])
print(make_prompts(inputs, asked, [generator(1)])[0].tolist())

rule = parse("generate_initial_masks", MaskOptions, ["--postprocess", "otsu"])
halves = np.repeat(np.array([[0.1, 0.2, 0.8, 1.0]], np.float32), 4, axis=0)
print(cam_to_mask(halves, np.zeros((4, 4, 3), np.uint8), rule)[0].tolist())

flags = ["--cam", "mean_features", "--backbone", "resnet18"]
spec = NetworkSpec.of(parse("train_classifier", ClassifierOptions, flags))
model = build_classifier(spec)
images = torch.rand(1, 3, 32, 32)
maps = rotation_averaged_cam(model, images, 1, spec.cam)[1]
features = model.forward_features(images)[1].mean(dim=1)
print(spec.evp_fuse, torch.allclose(maps, features / features.max()))
"""

TRAIN = """
import evaluate, generate_initial_masks, infer, train_classifier, train_segmenter
from epsam.config.classifier import ClassifierOptions
from epsam.config.command_line import parse
from epsam.config.evaluation import EvaluateOptions
from epsam.config.inference import InferOptions
from epsam.config.masks import MaskOptions
from epsam.config.segmenter import SegmenterOptions


def run(stage, options, flags):
    common = "--dataset_type mini --run mil --device cpu"
    stage.main(parse(stage.__name__, options, f"{common} {flags}".split()))


fit = "--workers 0 --epoch 30 --lr 1e-2 --batch_size 4 --patience 0"
run(train_classifier, ClassifierOptions, f"--weak_model tiny_mil {fit}")
run(generate_initial_masks, MaskOptions, "--quantile 0.8 --open_kernel 0")
segmenter = "--segmenter tiny_unet --targets initial --normal_patches"
run(train_segmenter, SegmenterOptions, f"{segmenter} {fit}")
run(evaluate, EvaluateOptions, "")
run(infer, InferOptions, "--output_dir out")
"""


def test_the_page_has_a_file_and_a_row_for_each_table():
    assert len(FILES) == 5
    assert [table for table, _ in ROWS] == [
        "PROMPTS",
        "POSTPROCESSINGS",
        "CAM_METHODS",
        "WEAK_MODELS",
        "SEGMENTERS",
    ]


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of src/ with the page's files and rows, and a mini dataset beside it."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(
        REPOSITORY / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name, text in FILES.items():
        (folder / name).write_text(text, "utf-8")
    tables = folder / "src/epsam/methods.py"
    text = tables.read_text("utf-8")
    for table, row in ROWS:
        head = rf"^({table}(?:: [^=]+)? = \{{\n)"
        text, changed = re.subn(head, rf"\g<1>{row}", text, flags=re.MULTILINE)
        assert changed == 1
    tables.write_text(text, "utf-8")
    write_patches(folder / "dataset" / "mini")
    return folder


def run_python(folder, code):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": "src", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_its_functions_and_rows_are_all_that_is_needed(extended):
    result = run_python(extended, USE)
    assert result.returncode == 0, result.stderr
    # The larger region first; within each, its highest pixel as (x, y).
    assert result.stdout.splitlines() == [
        "[[11.0, 15.0, 1.0], [7.0, 4.0, 1.0]]",
        "[False, False, True, True]",
        "none True",
    ]


def read_rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_its_models_are_trained_evaluated_and_used_for_inference(extended):
    """Blue discs on pink: a map of colours finds them, and so does a U-Net that learns from it."""
    result = run_python(extended, TRAIN)
    assert result.returncode == 0, result.stderr + result.stdout
    run = extended / "checkpoints" / "mil"
    scores = {
        (row["split"], row["what"]): float(row["dice"]) for row in read_rows(run / "evaluation.csv")
    }
    assert set(scores) == {
        (split, name)
        for split in ("train", "val", "test")
        for name in ("fill", "all", "initial mask", "tiny_unet")
    }
    assert scores["test", "initial mask"] > 0.5
    assert scores["test", "tiny_unet"] > 0.5
    images = read_rows(extended / "out" / "metrics.csv")
    assert [row["status"] for row in images] == ["done"] * 3
    dice = [float(row["dice"]) for row in images if row["label"] == "1"]
    assert sum(dice) / len(dice) == pytest.approx(scores["test", "tiny_unet"], abs=0.02)


@pytest.mark.parametrize("command", re.findall(r"^(\w+=.*) \./train\.sh$", PAGE, re.MULTILINE))
def test_its_commands_set_variables_that_the_script_has(command):
    script = (REPOSITORY / "train.sh").read_text("utf-8")
    for name, _ in (word.split("=", 1) for word in shlex.split(command)):
        assert f"{name}=${{{name}:-" in script
