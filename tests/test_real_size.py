"""benchmarks/real_size.py: what it counts, on parts of a few pixels."""

from pathlib import Path

import pytest
import torch
from torch import nn

from support.mini import smaller_sam

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def real_size(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import real_size

    return real_size


class OneLayer:
    """A linear layer without a bias as a task: 3 inputs, 2 outputs, 4 samples."""

    def __init__(self):
        self.model = nn.Linear(3, 2, bias=False)
        self.steps = 0

    def loss(self, batch, epoch):
        # Backward needs the input (4, 3) for the weight, and of exp its result (4, 2).
        return self.model(batch).exp().sum(1)

    def apply_gradients(self):
        self.steps += 1


def test_a_step_keeps_what_backward_needs_beside_the_weights(real_size):
    task = OneLayer()
    assert real_size.step(task, torch.ones(4, 3)) == 4 * (4 * 3 + 4 * 2)
    assert task.steps == 1
    assert task.model.weight.grad is not None


def test_the_estimate_counts_four_copies_of_a_weight_and_each_patch_of_the_batch(real_size):
    # 2^26 weights of 4 bytes, four times: 1 GiB; 8 patches of 0.25 GiB.
    assert real_size.estimate_gib(2**26, 2**28, 8) == 3.0


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("part", "flags", "side", "recipe_batch"),
    [
        ("dws_mil", ("--input_size", "32"), 32, 4),
        ("unet", ("--encoder", "resnet18"), 64, 8),
        ("sam_box", ("--sam_model_type", "vit_demo"), 256, 4),
    ],
)
def test_a_part_is_one_step_and_one_prediction_of_its_method(
    real_size, part, flags, side, recipe_batch, monkeypatch
):
    with smaller_sam():
        monkeypatch.setattr(real_size, "build_sam", lambda _: small_sam())
        row = real_size.measure_part(part, 2, 64, flags)
    assert set(row) == set(real_size.COLUMNS)
    assert (row["recipe_batch"], row["batch"]) == (recipe_batch, 2)
    assert float(row["saved_mib_per_patch"]) >= 0
    assert (row["encode_cpu_seconds"] != "") == (part == "sam_box")
    if part != "sam_box":
        assert row["network_side"] == side


def small_sam():
    from epsam.segment.sam.models import build_sam

    return build_sam("vit_demo")
