"""The training patches of an epoch in random order, as batches, or in leaves with --leaves."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from epsam.config.classifier import ClassifierOptions
from epsam.config.segmenter import SegmenterOptions
from epsam.core.distributed import current_world
from epsam.core.leaves import cut_batches
from epsam.core.seeding import generator
from epsam.data.batches import PatchBatch, load_batches, load_listed_batches
from epsam.data.patches import Patch
from epsam.engine.leaf_step import LeafBatch, group_leaves

Batch = TypeVar("Batch")


def draw_order(n_patches: int, seed: int, task: str, epoch: int) -> list[int]:
    """The indices of all patches in the order of an epoch.

    It depends on seed, task and epoch alone, so that a resumed epoch goes on with the same patches.
    """
    order: list[int] = generator(seed, task, "order", epoch).permutation(n_patches).tolist()
    return order


def load_epoch(
    patches: Sequence[Patch],
    size: int,
    complete: Callable[[PatchBatch], Batch],
    task: str,
    options: ClassifierOptions | SegmenterOptions,
    epoch: int,
    first_step: int,
) -> Iterator[Batch | LeafBatch]:
    """The batches of an epoch from a step on, or with --leaves their leaves that are this
    process's.

    size: side of all patches in px. complete: adds what a task needs beside images and labels.
    """
    order = draw_order(len(patches), options.seed, task, epoch)
    remaining = order[first_step * options.batch_size :]
    if not options.leaves:
        batches = load_batches(patches, size, options.batch_size, options.workers, remaining)
        return map(complete, batches)

    cuts = cut_batches(remaining, options.batch_size, options.leaves, current_world())
    leaves = [leaf for _, leaves_of_batch in cuts for leaf in leaves_of_batch]
    loaded = load_listed_batches(patches, size, leaves, options.workers)
    return group_leaves(cuts, map(complete, loaded))
