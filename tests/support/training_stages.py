"""The training stages on the mini dataset, in this process and in seconds."""

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

import finetune_decoder
import generate_initial_masks
import retrain_decoder
import train_classifier
from epsam.config.classifier import ClassifierOptions
from epsam.config.command_line import parse
from epsam.config.decoder import FinetuneOptions, RetrainOptions
from epsam.config.masks import MaskOptions
from support.mini import FLAGS, smaller_sam, write_patches, write_random_sam

DATASET = ("--dataset_type", "mini", "--device", "cpu")
SAM = ("--sam_model_type", "vit_demo", "--sam_checkpoint", "random_sam.pth")


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """While it holds, `folder` is the working directory, torch has one thread, and `vit_demo` is
    smaller.
    """
    before, threads = Path.cwd(), torch.get_num_threads()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    torch.set_num_threads(1)
    try:
        with smaller_sam():
            yield
    finally:
        os.chdir(before)
        torch.set_num_threads(threads)


def write_mini_dataset() -> None:
    """The mini dataset and SAM's weights, in the working directory."""
    write_patches(Path("dataset") / "mini")
    write_random_sam(Path("random_sam.pth"))


def run_training(mask_flags: Sequence[str] = (), fit_flags: Sequence[str] = ()) -> None:
    """All stages from patches to the decoder of round 2, in the working directory.

    fit_flags: of every stage that fits a network.
    """
    flags = {name: shlex.split(value) for name, value in FLAGS.items()}
    classifier = [*DATASET, *flags["CLASSIFIER_FLAGS"], *fit_flags]
    masks = [*DATASET, *flags["MASK_FLAGS"], *mask_flags]
    decoder = [*DATASET, *SAM, *flags["DECODER_FLAGS"], *fit_flags]
    rounds = [*DATASET, *SAM, *flags["RETRAIN_FLAGS"], *fit_flags]

    train_classifier.main(parse("train_classifier", ClassifierOptions, classifier))
    generate_initial_masks.main(parse("generate_initial_masks", MaskOptions, masks))
    finetune_decoder.main(parse("finetune_decoder", FinetuneOptions, decoder))
    retrain_decoder.main(parse("retrain_decoder", RetrainOptions, rounds))
