"""Fits that several processes share: a small one that is interrupted, and all stages of the mini
dataset.
"""

import os
import signal
from dataclasses import dataclass

import torch
from torch import nn

import finetune_decoder
import train_segmenter
from epsam.config.command_line import parse
from epsam.config.decoder import FinetuneOptions
from epsam.config.segmenter import SegmenterOptions
from epsam.core.distributed import current_world
from epsam.core.leaves import cut_batches
from epsam.core.seeding import generator
from epsam.engine.fit import FitSchedule, fit
from epsam.engine.leaf_step import group_leaves
from epsam.engine.task import Task
from support.leaf_fits import hashes
from support.training_stages import DATASET, SAM, run_training, working_in

N_PATCHES = 10
BATCH_SIZE = 4
EPOCHS = 3


@dataclass
class Images:
    values: torch.Tensor
    names: list


def fit_small(checkpoint, leaves=4, stop_at=None, stopped_rank=0, number=signal.SIGTERM):
    """Weights, buffers and history after three epochs of three steps; "interrupted" if a signal
    comes to one process while it computes its loss number `stop_at`.
    """
    task = small_task(leaves, stop_at, stopped_rank, number)
    schedule = FitSchedule(EPOCHS, 0, "val", True, lambda step, steps: 1 / (1 + step))
    try:
        state = fit(task, schedule, checkpoint)
    except KeyboardInterrupt:
        return "interrupted"
    history = [row for row in state.history if row[1] not in ("seconds", "data_wait_share")]
    return hashes(task.model), history


def small_task(leaves, stop_at, stopped_rank, number):
    torch.manual_seed(0)
    # Batch norm draws the leaves together, and dropout draws from torch's own state.
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.3), nn.Flatten(), nn.Linear(36, 1)
    )
    images = torch.rand(N_PATCHES, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    losses = []

    def order(epoch):
        return generator(5, "order", epoch).permutation(N_PATCHES).tolist()

    def batches(epoch, first_step):
        remaining = order(epoch)[first_step * BATCH_SIZE :]
        cuts = cut_batches(remaining, BATCH_SIZE, leaves, current_world())
        chunks = [chunk for _, chunks in cuts for chunk in chunks]
        leaf_batches = (Images(images[chunk], [str(i) for i in chunk]) for chunk in chunks)
        return group_leaves(cuts, leaf_batches)

    def loss(batch, epoch):
        losses.append(epoch)
        if stop_at == len(losses) and current_world().rank == stopped_rank:
            os.kill(os.getpid(), number)
        return (model(batch.values)[:, 0] - batch.values.mean(dim=(1, 2, 3))) ** 2

    def validate():
        model.eval()
        return {"val": float(model(images).sum())}

    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    return Task("small", 5, model, optimiser, batches, loss, validate, 3)


def encode_mini(folder, chunk):
    """The embeddings of all tumour patches of train and val, `chunk` images at a time."""
    flags = ["--embedding_transforms", "2", "--encoder_chunk", str(chunk), "--shard", "1/1"]
    with working_in(folder):
        options = parse("finetune_decoder", FinetuneOptions, [*DATASET, *SAM, *flags])
        finetune_decoder.main(options)


def train_mini(folder, leaves):
    """All stages from patches to the decoder of round 2."""
    with working_in(folder):
        run_training(fit_flags=("--leaves", str(leaves)))


def train_mini_segmenter(folder, leaves):
    """A U-Net on the ground truth of six patches: two steps an epoch, the last of them short."""
    flags = "--segmenter unet --encoder resnet18 --pretrained none --targets ground_truth --epoch 1"
    arguments = [*DATASET, *flags.split(), "--batch_size", "4", "--workers", "0"]
    with working_in(folder):
        options = parse("train_segmenter", SegmenterOptions, [*arguments, "--leaves", str(leaves)])
        train_segmenter.main(options)
