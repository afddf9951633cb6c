"""Training in leaves: the same bits in any number of processes, and torch's own gradients."""

import math

import pytest
import torch

from epsam.core.distributed import World
from epsam.core.errors import TrainingError
from epsam.core.leaves import BatchCut
from epsam.engine.leaf_step import leaf_step
from support import leaf_fits
from support.processes import run_in_processes

KINDS = ("classifier", "decoder")


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    """Number of processes → what each of them has fitted, over batches of 8, 5 and 2 patches."""
    results = {}
    for size in (1, 2, 3, 4):
        folder = tmp_path_factory.mktemp(f"processes_{size}")
        results[size] = run_in_processes(leaf_fits.fit_everything, size, folder)
    return results


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_one_to_four_processes_end_with_the_same_weights_buffers_and_losses(fits, kind):
    # Four leaves, and two in the last batch: a third and a fourth process have none of their own.
    (alone,) = fits[1]
    for size, results in fits.items():
        assert [result[kind] for result in results] == [alone[kind]] * size


@pytest.mark.long
def test_sums_of_processes_added_by_the_usual_reduction_end_with_other_bits(fits):
    # The negative control: the comparison above can tell two results apart.
    (alone,) = fits[1]
    assert fits[2][0]["plain sums"] == fits[2][1]["plain sums"] != alone["plain sums"]


@pytest.mark.long
def test_all_processes_leave_out_a_step_whose_gradients_overflow_in_one(fits):
    weights, scale = fits[1][0]["overflow"]
    assert weights[0] == weights[1] != weights[2]
    assert scale == 65536 / 2
    for results in fits.values():
        assert all(result["overflow"] == (weights, scale) for result in results)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_patches", [8, 3])
def test_the_gradient_of_leaves_is_that_of_the_whole_batch(kind, n_patches):
    expected = leaf_fits.plain_gradients(kind, n_patches)
    gradients = leaf_fits.leaf_gradients(kind, n_patches, 4)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-10, atol=1e-10)


def test_a_loss_that_is_no_number_names_the_patches():
    task, make_samples = leaf_fits.build_task("decoder")
    task.loss = lambda leaf, _: next(task.model.parameters()).sum() * torch.tensor([math.nan])
    batch = leaf_fits.leaf_batch(make_samples(3, 0), BatchCut(3, 2, World()))
    with pytest.raises(TrainingError, match="loss is nan on patches 0-0, 0-1, 0-2; look at them"):
        leaf_step(task, batch, 0)


def test_a_network_has_its_parameters_and_batch_norms_back_after_an_error():
    task, make_samples = leaf_fits.build_task("classifier")
    parameters = dict(task.model.named_parameters())
    batch = leaf_fits.leaf_batch(make_samples(4, 0), BatchCut(4, 2, World()))
    batch.leaves[1].targets = torch.zeros(7)
    with pytest.raises(ValueError, match="size"):
        leaf_step(task, batch, 0)
    assert {n: id(p) for n, p in task.model.named_parameters()} == {
        name: id(parameter) for name, parameter in parameters.items()
    }
    assert "forward" not in vars(task.model.bn1)
