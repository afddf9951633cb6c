"""docs/extending.md does what it says: its files and table rows, put into a copy of src/, are all
that is needed.
"""

import re
import shlex
import shutil
import subprocess
import sys

import pytest

from support.mini import REPOSITORY

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
from epsam.config.decoder import DecoderOptions
from epsam.config.masks import MaskOptions
from epsam.core.seeding import generator
from epsam.segment.sam.prompting.rules import PromptInputs, make_prompts, collate_inputs

activation = np.zeros((20, 20), np.float32)
activation[2:5, 3:9], activation[12:18, 10:16] = 0.4, 0.6
activation[4, 7], activation[15, 11], activation[9, 9] = 0.5, 0.9, 1.0
mask = activation > 0
mask[9, 9] = False
asked = parse("finetune_decoder", DecoderOptions, ["--prompt", "peaks"])
print(make_prompts(collate_inputs([PromptInputs(activation, mask)]), asked, [generator(1)])[0].tolist())

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


def test_the_page_has_a_file_and_a_row_for_each_table():
    assert len(FILES) == 3
    assert [table for table, _ in ROWS] == ["PROMPTS", "POSTPROCESSINGS", "CAM_METHODS"]


def test_its_functions_and_rows_are_all_that_is_needed(tmp_path):
    shutil.copytree(
        REPOSITORY / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, "utf-8")
    tables = tmp_path / "src/epsam/methods.py"
    text = tables.read_text("utf-8")
    for table, row in ROWS:
        text, changed = re.subn(rf"^({table} = \{{\n)", rf"\g<1>{row}", text, flags=re.MULTILINE)
        assert changed == 1
    tables.write_text(text, "utf-8")
    result = subprocess.run(
        [sys.executable, "-c", USE],
        cwd=tmp_path / "src",
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    # The larger region first; within each, its highest pixel as (x, y).
    assert result.stdout.splitlines() == [
        "[[11.0, 15.0, 1.0], [7.0, 4.0, 1.0]]",
        "[False, False, True, True]",
        "none True",
    ]


@pytest.mark.parametrize("command", re.findall(r"^(\w+=.*) \./train\.sh$", PAGE, re.MULTILINE))
def test_its_commands_set_variables_that_the_script_has(command):
    script = (REPOSITORY / "train.sh").read_text("utf-8")
    for name, _ in (word.split("=", 1) for word in shlex.split(command)):
        assert f"{name}=${{{name}:-" in script
