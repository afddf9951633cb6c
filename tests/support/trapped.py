"""Stages of a tiny run, each in a process of its own that can be killed at a chosen call or at a
chosen file.
"""

import importlib
import itertools
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import torch
from torchvision import models
from torchvision.models.resnet import BasicBlock

import epsam.engine.fit
from epsam.config.command_line import parse
from epsam.config.flags import read_stored
from epsam.config.inference import InferOptions
from epsam.pipeline import training_stages
from support.mini import smaller_sam

_DECODER = (
    "--epoch 2 --batch_size 2 --n_point 5 --embedding_transforms 1 --ids_threshold -1 "
    "--allow_degenerate"
)
_FLAGS = {
    "train_classifier": "--backbone resnet18 --pretrained none --epoch 3 --batch_size 2 "
    "--workers 0 --lr 1e-3 --adl_drop_rate 0",
    "generate_initial_masks": "--open_kernel 0 --allow_degenerate",
    "finetune_decoder": _DECODER,
    "retrain_decoder": f"{_DECODER} --n_iter 2 --select_on last",
}
STAGES: dict[str, tuple[type, str]] = {
    stage.name: (stage.load_options_class(), _FLAGS[stage.name]) for stage in training_stages()
}


@dataclass(frozen=True)
class Kill:
    """SIGKILL in the `number`-th call of a function (`module:name`), or of the `number`-th file
    whose path holds `file`: before it, or `after` it.
    """

    call: str = ""
    file: str = ""
    number: int = 1
    after: bool = False

    def arm(self) -> None:
        """Put it into this process."""
        module, _, names = (self.call or "pathlib:Path.replace").partition(":")
        *owners, name = names.split(".")
        owner: Any = importlib.import_module(module)
        for part in owners:
            owner = getattr(owner, part)
        plain, counted = getattr(owner, name), itertools.count(1)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            hit = self.file in str(arguments[-1]) and next(counted) == self.number
            if hit and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = plain(*arguments, **named)
            if hit:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, wrapped)


def forget_place() -> None:
    """A resume that goes on in the right epoch but begins its batches again: what the tests have to
    notice.
    """
    plain = epsam.engine.fit._resume

    def forgetful(task: Any, checkpoint: Path) -> Any:
        progress = plain(task, checkpoint)
        batches = task.batches
        task.batches = lambda epoch, _first_step: batches(epoch, 0)
        return progress

    epsam.engine.fit._resume = forgetful


def jump_in_time() -> None:
    """A clock that goes years back and forth between two looks at it."""
    moments = itertools.cycle([0.0, 4e9, 1e9, 1.0])
    time.time = lambda: next(moments)


def new_processes() -> ForkServerContext:
    """Makes processes that have imported all stages. Not by fork: where this process has trained, a
    copy cannot.
    """
    context = multiprocessing.get_context("forkserver")
    # One server serves all files of tests, with what the first one asked it to import.
    context.set_forkserver_preload([__name__, "infer", *STAGES])
    with patch.dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)):
        forkserver.ensure_running()
    return context


def run_stage(folder: Path, stage: str, *first: Callable[[], None]) -> int:
    """Run a stage in `folder` in a new process, in which `first` is called before; its exit
    code.
    """
    process = new_processes().Process(target=_work, args=(folder, stage, first))
    process.start()
    process.join()
    return process.exitcode or 0


def infer(options: InferOptions) -> None:
    """infer.py in a process of `new_processes`."""
    torch.set_num_threads(1)
    with smaller_sam():
        importlib.import_module("infer").main(options)


def _work(folder: Path, stage: str, first: tuple[Callable[[], None], ...]) -> None:
    os.chdir(folder)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    # One block a layer: a third of the weights to save. And state after every step, where a user's
    # fit saves it every few minutes.
    models.resnet18 = lambda weights, num_classes: models.ResNet(
        BasicBlock, [1, 1, 1, 1], num_classes
    )
    fit = epsam.engine.fit.fit
    fit.__defaults__ = (0.0, *(fit.__defaults__ or ())[1:])
    with smaller_sam():
        for prepare in first:
            prepare()
        importlib.import_module(stage).main(options_of(stage))


def options_of(stage: str) -> Any:
    return parse(stage, STAGES[stage][0], flags_of(stage))


def flags_of(stage: str) -> list[str]:
    sam = (
        ["--sam_model_type", "vit_demo", "--sam_checkpoint", "random_sam.pth"]
        if "decoder" in stage
        else []
    )
    return ["--dataset_type", "mini", "--device", "cpu", *sam, *STAGES[stage][1].split()]


def add_flags(stage: str, flags: str) -> None:
    """Give a stage more flags in this process; of a flag that is there twice, the last one
    holds.
    """
    kind, before = STAGES[stage]
    STAGES[stage] = kind, f"{before} {flags}"


def repeat_from_record(record: Path, name: str, stage: str) -> None:
    """Run a stage with the options that a record holds under `name`."""
    stored = json.loads(record.read_text("utf-8"))[name]["options"]
    kind = STAGES[stage][0]
    values = {}
    for option, value in read_stored(kind, stored).items():
        values[option] = tuple(value) if isinstance(value, list) else value
    importlib.import_module(stage).main(kind(**values))
    raise SystemExit
