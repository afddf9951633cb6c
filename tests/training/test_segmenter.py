"""What a segmenter without prompts is trained on, and what stands in its way."""

import numpy as np
import pytest
import torch

import train_segmenter
from epsam.config.segmenter import SegmenterOptions
from epsam.core.checkpoints import save_plain
from epsam.core.device import select_device
from epsam.core.errors import DatasetError, TrainingError, WeightsError
from epsam.data.images import write_mask, write_rgb
from epsam.data.patches import Patch
from epsam.paths import RunPaths
from epsam.segment.registry import is_segmenter, load_segmenter
from epsam.training.decoder import Example
from epsam.training.segmenter import (
    build_segmenter_schedule,
    build_segmenter_task,
    read_targets,
)
from epsam.training.segmenter_targets import load_targets

SIDE = 8
CPU = select_device("cpu", "fp32")


@pytest.fixture
def patches(tmp_path):
    """Two positives, of which the first has a ground truth, and a normal patch."""
    patches = []
    for name in ("a_1", "b_1", "c_0"):
        image = tmp_path / "image" / f"{name}.png"
        write_rgb(image, np.full((SIDE, SIDE, 3), 100, np.uint8))
        patches.append(Patch(name, int(name[-1]), image, None))
    mask = tmp_path / "mask" / "a_1.png"
    write_mask(mask, np.eye(SIDE, dtype=bool))
    patches[0] = Patch("a_1", 1, patches[0].image, mask)
    return patches


def targets_of(options, run, patches):
    return [
        (example.patch.name, example.target)
        for example in load_targets(options, run, patches[:2], patches[2:])
    ]


def test_targets_are_those_of_the_option_and_normal_patches_are_empty(tmp_path, patches):
    run = RunPaths(tmp_path / "run")
    initial = run.initial_masks("train")
    for name in ("a_1", "b_1"):
        write_mask(initial / f"{name}.png", np.ones((SIDE, SIDE), bool))
    for number, name in ((0, "a_1"), (1, "b_1")):
        write_mask(run.pseudo_masks(number) / f"{name}.png", np.ones((SIDE, SIDE), bool))

    truth = SegmenterOptions(targets="ground_truth", normal_patches=True)
    assert targets_of(truth, run, patches) == [("a_1", patches[0].mask), ("c_0", None)]
    positives = SegmenterOptions(targets="initial", normal_patches=False)
    assert targets_of(positives, run, patches) == [
        ("a_1", initial / "a_1.png"),
        ("b_1", initial / "b_1.png"),
    ]
    pseudo = SegmenterOptions(targets="pseudo", normal_patches=False)
    assert targets_of(pseudo, run, patches) == [("b_1", run.pseudo_masks(1) / "b_1.png")]


def test_without_a_mask_there_is_nothing_to_train_on(tmp_path, patches):
    run = RunPaths(tmp_path / "run")
    with pytest.raises(TrainingError, match="--targets ground_truth: no training patch has such"):
        load_targets(SegmenterOptions(targets="ground_truth"), run, patches[1:2], [])
    with pytest.raises(TrainingError, match="no pseudo-labels; run finetune_decoder.py"):
        load_targets(SegmenterOptions(targets="pseudo"), run, patches[:1], [])


def test_the_stage_needs_a_segmenter_by_name():
    with pytest.raises(TrainingError, match="--segmenter: none named; use"):
        train_segmenter.main(SegmenterOptions())


def test_a_mask_of_another_size_is_refused(patches):
    example = Example(patches[0], patches[0].mask)
    assert torch.equal(read_targets(example, SIDE, 1)[0], torch.eye(SIDE))
    with pytest.raises(DatasetError, match="8×8 px for a patch of 16×16; resize it"):
        read_targets(example, 16, 1)


def test_masks_of_layers_are_read_side_by_side_the_deepest_last(tmp_path, patches):
    run = RunPaths(tmp_path / "run")
    for number in (1, 2, 3):
        mask = np.zeros((SIDE, SIDE), bool)
        mask[:number] = True
        write_mask(run.layer_masks(number) / "a_1.png", mask)
    options = SegmenterOptions(targets="layers", normal_patches=True)
    tumour, normal = load_targets(options, run, patches[:1], patches[2:])
    targets = read_targets(tumour, SIDE, 3)
    assert targets.sum(dim=(1, 2)).tolist() == [SIDE, 2 * SIDE, 3 * SIDE]
    assert read_targets(normal, SIDE, 3).shape == (3, SIDE, SIDE)
    assert not read_targets(normal, SIDE, 3).any()
    with pytest.raises(TrainingError, match="layer_1: no masks of the classifier's layers; run"):
        load_targets(options, RunPaths(tmp_path), patches[:1], [])


class Recorder(torch.nn.Linear):
    """Keeps what it is trained on."""

    def __init__(self):
        super().__init__(1, 1)
        self.batches = []

    def loss(self, images, masks):
        self.batches.append((images, masks))
        return self.weight.sum() * masks.mean(dim=(1, 2, 3))


def test_a_step_has_a_loss_for_each_patch_and_the_same_draws_at_every_try(patches):
    model = Recorder()
    examples = [Example(patches[0], patches[0].mask), Example(patches[2], None)]
    options = SegmenterOptions(batch_size=2, workers=0)
    task = build_segmenter_task(model, examples, [], SIDE, options, CPU)
    for epoch in (0, 0, 1):
        (batch,) = task.batches(0, 0)
        losses = task.loss(batch, epoch)
        assert losses.shape == (2,)
        assert losses[batch.names.index("c_0")] == 0
    first, again, later = model.batches
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], later[0])


def test_the_learning_rate_follows_a_cosine_over_all_steps():
    schedule = build_segmenter_schedule(SegmenterOptions(epoch=4))
    # 20 steps: all of it at the first, half of it after 10, (1 + cos 45°) / 2 after 5.
    factors = [schedule.lr_factor(step, 5) for step in (0, 5, 10)]
    assert factors == pytest.approx([1, (1 + 2**-0.5) / 2, 0.5])


def test_a_decoder_of_sam_is_no_segmenter(tmp_path):
    path = tmp_path / "decoder.pth"
    save_plain(path, {"model": {"mask_decoder.x": torch.zeros(1)}, "made_with": {}})
    assert not is_segmenter(path)
    with pytest.raises(WeightsError, match="no segmenter of train_segmenter.py"):
        load_segmenter(path, CPU)
