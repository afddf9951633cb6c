"""Two processes of one thread beside one of one thread and one of two, all in one run.

    python benchmarks/processes.py

Encoding, the classifier behind inference, and steps of classifier and decoder, in leaves; beside
them plain steps in one process, which shows what leaves cost. Images and networks are small, so
that the run takes minutes; the work is the same in all columns.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from epsam.core.distributed import (
    World,
    current_world,
    end_group,
    part_of_process,
    start_group,
    wait_for_all,
)
from epsam.core.leaves import BatchCut
from epsam.engine.leaf_step import LeafBatch, leaf_step
from epsam.engine.task import Task
from epsam.segment.sam.losses import decoder_loss
from epsam.segment.sam.models import build_sam, freeze
from epsam.weak.resnet import NetworkSpec, build_classifier

LEAVES = 4
COLUMNS = {
    "plain, 1 thread": (1, 1, 0),
    "1 process, 1 thread": (1, 1, LEAVES),
    "2 processes, 1 thread": (2, 1, LEAVES),
    "1 process, 2 threads": (1, 2, LEAVES),
}
"""(processes, threads of each, leaves) by title."""


@dataclass(frozen=True)
class Samples:
    """Inputs and targets of a leaf or batch."""

    inputs: torch.Tensor
    targets: torch.Tensor
    names: list[str]


def encode(count: int, leaves: int) -> None:
    """Images through SAM's encoder of the demo, which processes share."""
    sam = build_sam("vit_demo").eval()
    image = torch.rand(1, 3, sam.image_encoder.img_size, sam.image_encoder.img_size)
    with torch.no_grad():
        for _ in part_of_process(range(count)):
            sam.image_encoder(image)


def classify(count: int, leaves: int) -> None:
    """Tiles in four rotations through the classifier, which processes share."""
    model = build_classifier(NetworkSpec("resnet18")).eval()
    tiles = torch.rand(4, 3, 128, 128)
    with torch.no_grad():
        for _ in part_of_process(range(count)):
            model(tiles)


def learn_classifier(count: int, leaves: int) -> None:
    """Steps of the classifier on 8 patches."""
    torch.manual_seed(0)
    model = build_classifier(NetworkSpec("resnet18")).train()
    labels = (torch.arange(8) < 4).float()
    samples = Samples(torch.rand(8, 3, 128, 128), labels, [str(number) for number in range(8)])
    run_steps(
        model, lambda leaf, epoch: model.loss(leaf.inputs, leaf.targets), samples, count, leaves
    )


def learn_decoder(count: int, leaves: int) -> None:
    """Steps of SAM's decoder on 4 patches with two points each."""
    torch.manual_seed(0)
    sam = freeze(build_sam("vit_demo"))
    side = sam.prompt_encoder.image_embedding_size[0]
    points = torch.tensor([[[10.0, 15.0], [50.0, 22.0]]])
    sparse, dense = sam.prompt_encoder((points, torch.ones(1, 2, dtype=torch.long)), None, None)

    def loss(leaf: Samples, epoch: int) -> torch.Tensor:
        count = len(leaf.names)
        logits, _ = sam.mask_decoder(
            image_embeddings=leaf.inputs,
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse.expand(count, -1, -1),
            dense_prompt_embeddings=dense.expand(count, -1, -1, -1),
            multimask_output=False,
        )
        return decoder_loss(logits[:, 0], leaf.targets)

    targets = torch.zeros(4, 4 * side, 4 * side)
    targets[:, side : 2 * side, side : 2 * side] = 1
    samples = Samples(torch.rand(4, 256, side, side), targets, ["a", "b", "c", "d"])
    run_steps(sam.mask_decoder, loss, samples, count, leaves)


def run_steps(
    model: Any,
    loss: Callable[[Samples, int], torch.Tensor],
    samples: Samples,
    count: int,
    leaves: int,
) -> None:
    """Steps of an optimiser on the same batch; leaves 0: plain ones."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    task = Task("steps", 0, model, optimiser, lambda *_: [], loss, dict, count)
    for _ in range(count):
        if leaves:
            leaf_step(task, cut_samples(samples, leaves), 0)
            continue
        optimiser.zero_grad(set_to_none=True)
        loss(samples, 0).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def cut_samples(samples: Samples, leaves: int) -> LeafBatch:
    """The leaves of this process."""
    cut = BatchCut(len(samples.names), leaves, current_world())
    parts = []
    for leaf in cut.computed_leaves:
        at = list(cut.positions(leaf))
        names = [samples.names[position] for position in at]
        parts.append(Samples(samples.inputs[at], samples.targets[at], names))
    return LeafBatch(cut, parts)


WORK: dict[str, tuple[Callable[[int, int], None], int]] = {
    "encoding": (encode, 40),
    "classifier of inference": (classify, 60),
    "classifier step": (learn_classifier, 10),
    "decoder step": (learn_decoder, 20),
}
"""By title: what is done, and how often."""


def work_in_process(
    rank: int, size: int, threads: int, leaves: int, folder: str, results: Any
) -> None:
    """Put the seconds of each work, and the peak memory in GiB, into `results` of the main one."""
    torch.set_num_threads(threads)
    if size > 1:
        start_group(World(rank, size, rank), f"file://{folder}/meeting_point")
    row = {}
    for title, (work, count) in WORK.items():
        # Once without the clock: libraries set themselves up.
        work(size, leaves)
        wait_for_all()
        started = time.perf_counter()
        work(count, leaves)
        wait_for_all()
        row[title] = (time.perf_counter() - started) / count
    row["peak GiB a process"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if rank == 0:
        results.put(row)
    end_group()


def measure(size: int, threads: int, leaves: int) -> dict[str, float]:
    """The row of one column of the table."""
    results = multiprocessing.get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        # An error in one of them ends all.
        torch.multiprocessing.spawn(
            work_in_process, (size, threads, leaves, folder, results), nprocs=size
        )
    row: dict[str, float] = results.get()
    return row


def main() -> None:
    """Print seconds an image or step, and the ratio of one process to two."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    columns = {title: measure(*column) for title, column in COLUMNS.items()}
    print("| seconds | " + " | ".join(COLUMNS) + " | 1 / 2 processes | leaves / plain |")
    print("|---|" + "---:|" * (len(COLUMNS) + 2))
    for title in [*WORK, "peak GiB a process"]:
        plain, one, two, _ = (column[title] for column in columns.values())
        cells = [f"{column[title]:.3f}" for column in columns.values()]
        print(
            f"| {title} | " + " | ".join([*cells, f"{one / two:.2f}", f"{one / plain:.2f}"]) + " |"
        )


if __name__ == "__main__":
    main()
