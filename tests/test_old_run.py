"""A finished run of version 0.1.0 is still finished, and still segments as it did.

tests/fixtures/run_0.1.0.tar.xz holds what revision c8d9dd5 left of a small run: patches, all stages
up to the first retraining round, the scores, and inference on the test images. Its weights are
coarse and its learning rates 0, so that it packs into a megabyte; its flags are those of then.
"""

import dataclasses
import logging
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import finetune_decoder
import generate_initial_masks
import infer
import retrain_decoder
import train_classifier
from epsam.config.classifier import ClassifierOptions
from epsam.config.command_line import parse
from epsam.config.decoder import FinetuneOptions, RetrainOptions
from epsam.config.inference import InferOptions
from epsam.config.masks import MaskOptions
from epsam.core.files import read_json, sha256_of
from epsam.data.images import read_mask
from epsam.engine.stage import Stage
from epsam.preflight.finished_work import find_replaced_stages
from support.archives import unpack
from support.mini import REPOSITORY, smaller_sam

ARCHIVE = Path(__file__).with_name("fixtures") / "run_0.1.0.tar.xz"
RUN = "--dataset_type mini --device cpu"
SAM = "--sam_model_type vit_demo --sam_checkpoint coarse_sam.pth"
DECODER = (
    f"{RUN} {SAM} --epoch 1 --lr 0 --ids_threshold -1 --batch_size 4 --n_point 5 "
    "--embedding_views 2 --n_draw 2 --n_view 2 --allow_degenerate"
)
STAGES = {
    train_classifier: (
        ClassifierOptions,
        f"{RUN} --seed 1 --backbone resnet18 --pretrained coarse_resnet18.pth --epoch 1 "
        "--batch_size 4 --workers 0 --lr 0 --adl_drop_rate 0",
    ),
    generate_initial_masks: (
        MaskOptions,
        f"{RUN} --postprocess ours --open_kernel 0 --allow_degenerate",
    ),
    finetune_decoder: (FinetuneOptions, f"{DECODER} --pepm_weight activation"),
    retrain_decoder: (RetrainOptions, f"{DECODER} --n_iter 1"),
}


@pytest.fixture(scope="module")
def old_run(tmp_path_factory):
    folder, before, threads = tmp_path_factory.mktemp("old"), os.getcwd(), torch.get_num_threads()
    unpack(ARCHIVE, folder)
    torch.set_num_threads(1)
    os.chdir(folder)
    with smaller_sam():
        yield folder
    os.chdir(before)
    torch.set_num_threads(threads)


def digests(folder):
    """What the stages made, by content; records of when and how long are left out."""
    outputs = [path for path in folder.rglob("*") if path.suffix in (".pth", ".npz", ".png")]
    return {path: sha256_of(path) for path in outputs if path.is_file()}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_no_stage_of_it_is_done_again(old_run, stage, caplog):
    before = digests(old_run / "checkpoints")
    kind, flags = STAGES[stage]
    with caplog.at_level(logging.INFO):
        stage.main(parse(stage.__name__, kind, shlex.split(flags)))
    assert "done already with these options and inputs" in caplog.text
    assert digests(old_run / "checkpoints") == before


def test_it_is_said_what_would_make_a_stage_of_it_again(old_run):
    options = parse("train_classifier", ClassifierOptions, shlex.split(STAGES[train_classifier][1]))
    inputs = read_json(old_run / "checkpoints" / "mini" / "record.json")["train_classifier"][
        "inputs"
    ]
    assert Stage("train_classifier", options, inputs).why_stale() == ""
    changed = dataclasses.replace(options, lr=0.5)
    assert Stage("train_classifier", changed, inputs).why_stale() == "lr 0.0 → 0.5"


WITHOUT_TORCH = """
import importlib, logging, shlex, sys
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
from epsam.config.command_line import parse
from epsam.pipeline import STAGES
name, flags = sys.argv[1:]
options = parse(name, STAGES[name].load_options_class(), shlex.split(flags))
importlib.import_module(name).main(options)
print("torch" in sys.modules)
"""


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_a_finished_stage_says_so_without_importing_pytorch(old_run, stage):
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, stage.__name__, STAGES[stage][1]],
        cwd=old_run,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = result.stdout.splitlines()
    assert result.returncode == 0, result.stderr
    assert "done already with these options and inputs" in result.stdout
    assert lines[-1] == "False"


def test_none_of_it_would_be_replaced(old_run):
    options = {}
    for stage, (kind, flags) in STAGES.items():
        options[stage.__name__] = parse(stage.__name__, kind, shlex.split(flags))
    assert list(find_replaced_stages(options, replaces_patches=False)) == []
    options["retrain_decoder"] = dataclasses.replace(options["retrain_decoder"], lr=0.5)
    (work,) = find_replaced_stages(options, replaces_patches=False)
    assert (work.completion, work.reason) == ("decoder_1", "lr 0.0 → 0.5")


def segment(output, *flags):
    words = shlex.split(f"{RUN} {SAM} --test_dataset_dir dataset/mini/test --output_dir {output}")
    infer.main(parse("infer", InferOptions, [*words, *flags]))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_it_segments_as_it_did(old_run, batch_size):
    segment(f"again_{batch_size}", "--batch_size", str(batch_size))
    expected = sorted((old_run / "infer_output" / "mask").iterdir())
    assert [path.name for path in expected] == ["p0_1.png", "p1_1.png", "p2_0.png"]
    for path in expected:
        assert (
            read_mask(old_run / f"again_{batch_size}" / "mask" / path.name) == read_mask(path)
        ).all()
    # Half of the first image: not a comparison of nothing with nothing.
    assert read_mask(expected[0]).mean() == 0.5


def test_images_that_it_has_segmented_are_not_segmented_again(old_run, caplog):
    shutil.copytree(old_run / "infer_output", old_run / "copy")
    before = digests(old_run / "copy")
    times = {path: path.stat().st_mtime_ns for path in before}
    segment("copy")
    assert digests(old_run / "copy") == before
    assert {path: path.stat().st_mtime_ns for path in before} == times
