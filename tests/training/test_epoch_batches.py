"""The order of training patches in an epoch."""

import numpy as np
import pytest

from epsam.config.classifier import ClassifierOptions
from epsam.data.images import write_rgb
from epsam.data.patches import Patch
from epsam.training.epoch_batches import draw_order, load_epoch

SIDE = 8


@pytest.fixture
def patches(tmp_path):
    patches = []
    for number in range(7):
        path = tmp_path / f"p{number}_0.png"
        write_rgb(path, np.full((SIDE, SIDE, 3), number, np.uint8))
        patches.append(Patch(path.stem, 0, path, None))
    return patches


def names_of(patches, first_step, leaves=0, epoch=0):
    options = ClassifierOptions(batch_size=4, workers=0, leaves=leaves)
    return list(
        load_epoch(patches, SIDE, lambda batch: batch.names, "task", options, epoch, first_step)
    )


def test_an_order_holds_each_patch_once_and_changes_with_seed_task_and_epoch():
    orders = [
        draw_order(30, seed, task, epoch)
        for seed, task, epoch in [(1, "a", 0), (2, "a", 0), (1, "b", 0), (1, "a", 1)]
    ]
    assert all(sorted(order) == list(range(30)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert draw_order(30, 1, "a", 0) == orders[0]


def test_an_epoch_that_is_resumed_has_the_batches_that_were_left(patches):
    batches = names_of(patches, first_step=0)
    assert [len(names) for names in batches] == [4, 3]
    assert names_of(patches, first_step=1) == batches[1:]
    assert names_of(patches, first_step=2) == []


def test_the_leaves_of_a_batch_are_its_patches_in_order(patches):
    batches = names_of(patches, first_step=0)
    joined = []
    for batch in names_of(patches, first_step=0, leaves=2):
        joined.append([name for leaf in batch.leaves for name in leaf])
    assert joined == batches
