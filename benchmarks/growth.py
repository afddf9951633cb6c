"""How time and memory grow with the work: slides and patches at 1×, 4× and 16×, as a Markdown
table.

    python benchmarks/growth.py             about two minutes on two cores
    python benchmarks/growth.py --patches 2 --slides 1 encoding maps

Each number is that of a process of its own. Small networks (ResNet18, vit_demo) on noise: what
counts is the shape of the line, not its height. A line is straight if the 16× part rises, per patch
or slide, like the 4× part.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from large_slide import write_slide
from measure import peak_mib
from twelve_gib import write_dataset

import extract_patches
import finetune_decoder
import generate_initial_masks
import train_classifier
from epsam.annotations.asap_writer import TUMOUR, AsapAnnotation, format_asap_xml
from epsam.config.classifier import ClassifierOptions
from epsam.config.command_line import parse
from epsam.config.common import SPLITS
from epsam.config.decoder import FinetuneOptions
from epsam.config.masks import MaskOptions
from epsam.config.patches import PatchOptions
from epsam.core.device import select_device
from epsam.core.files import write_table, write_text
from epsam.data.patches import list_labelled_patches, select_positives
from epsam.segment.sam.models import build_sam
from epsam.training.sam_setup import prepare_embeddings, prepare_sam
from epsam.weak.resnet import NetworkSpec, build_classifier
from epsam.weak.weights import save_classifier

FACTORS = (1, 4, 16)
SIDE_PX, SLIDE_PX = 64, 4096
EVEN = 1.25
"""Slopes that differ by a smaller factor are called the same (this project)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "steps",
        nargs="*",
        metavar="STEP",
        help=f"steps to measure: {' '.join(STEPS)}; none: all, in order",
    )
    parser.add_argument(
        "--patches", type=int, default=8, help="positive patches of the train split at 1×"
    )
    parser.add_argument("--slides", type=int, default=1, help="slides of each split at 1×")
    options = parser.parse_args()
    if unknown := sorted(set(options.steps) - set(STEPS)):
        parser.error(f"no such step: {', '.join(unknown)}; there are {', '.join(STEPS)}")
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / str(factor) for factor in FACTORS]
        for folder, factor in zip(folders, FACTORS, strict=True):
            prepare(folder, options.patches * factor, options.slides * factor)
        print(HEADER, flush=True)
        for step in options.steps or STEPS:
            print(row(step, [measure_in_process(step, folder) for folder in folders]), flush=True)


HEADER = (
    "| step | "
    + " | ".join(f"s at {factor}×" for factor in FACTORS)
    + " | time | "
    + " | ".join(f"MiB at {factor}×" for factor in FACTORS)
    + " | memory |\n"
    + "|---|"
    + "---:|" * len(FACTORS)
    + "---|"
    + "---:|" * len(FACTORS)
    + "---|"
)


def row(step: str, costs: Sequence[tuple[float, float]]) -> str:
    """A line of the table for (seconds, MiB) at each factor."""
    seconds, memory = zip(*costs, strict=True)
    return (
        f"| {step} | "
        + " | ".join(f"{value:.1f}" for value in seconds)
        + f" | {describe_growth(seconds)} | "
        + " | ".join(f"{value:.0f}" for value in memory)
        + f" | {describe_growth(memory)} |"
    )


def describe_growth(values: Sequence[float]) -> str:
    """The line through three values at `FACTORS`: flat (they differ by less than a tenth), straight
    or bent.
    """
    first, middle, last = values
    if max(values) <= 1.1 * min(values):
        return "flat"
    early = (middle - first) / (FACTORS[1] - FACTORS[0])
    late = (last - middle) / (FACTORS[2] - FACTORS[1])
    if early <= 0 or late <= 0:
        return "uneven"
    ratio = late / early
    shape = "bends up" if ratio > 1 else "flattens"
    if 1 / EVEN <= ratio <= EVEN:
        shape = "straight"
    return f"{shape} (slopes × {ratio:.2f})"


def measure_in_process(step: str, folder: Path) -> tuple[float, float]:
    """Seconds and peak memory in MiB of one step on the data in `folder`."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (step, folder))


def measure(step: str, folder: Path) -> tuple[float, float]:
    start = time.perf_counter()
    STEPS[step](folder)
    return time.perf_counter() - start, peak_mib()


# What the steps work on
# --------------------------------------------------------------------------------------------------


def prepare(folder: Path, patches: int, slides: int) -> None:
    """Patches in data/noise, slides in data/slides, and networks with random weights."""
    write_dataset(folder / "data" / "noise", SIDE_PX, patches)
    write_slides(folder / "data" / "slides", slides)
    torch.manual_seed(0)
    network = build_classifier(NetworkSpec(backbone="resnet18"))
    # Weights of one sign, so that no map is empty.
    network.fc.weight.data.abs_()
    save_classifier(folder / "classifier.pth", network, {"patch_size": SIDE_PX})
    torch.save(build_sam("vit_demo").state_dict(), folder / "sam.pth")


def write_slides(folder: Path, n_each: int) -> None:
    """`n_each` slides for each split: one file under many names, as only reading it counts."""
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    corners = SLIDE_PX / 2 + 0.15 * SLIDE_PX * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    annotations = format_asap_xml([AsapAnnotation(TUMOUR, corners.round().astype(np.int32))])
    images = folder / "images"
    rows = []
    images.mkdir(parents=True)
    write_slide(folder / "slide.tif", SLIDE_PX, (1, 2, 4, 8))
    for number in range(n_each * len(SPLITS)):
        name = f"tumor_{number:03d}"
        os.link(folder / "slide.tif", images / f"{name}.tif")
        write_text(folder / "annotations" / f"{name}.xml", annotations)
        rows.append({"slide": name, "split": SPLITS[number % len(SPLITS)]})
    write_table(folder / "splits.csv", ("slide", "split"), rows)


# Steps
# --------------------------------------------------------------------------------------------------


def extraction(folder: Path) -> None:
    """Step 1, with 20 positives and 20 negatives a slide."""
    slides = len(list((folder / "data" / "slides" / "images").iterdir()))
    per_split = ",".join(3 * [str(20 * slides // len(SPLITS))])
    # Noise has no colour, so that none of it is tissue.
    flags = ["--min_tissue", "0", "--workers", "1", "--max_per_bin", "0,0,0"]
    flags += ["--dataset_type", "slides", "--dataset_root", str(folder / "data")]
    flags += ["--max_positive", per_split, "--max_negative", per_split]
    extract_patches.main(parse("extract_patches", PatchOptions, flags))


def classifier(folder: Path) -> None:
    flags = ["--backbone", "resnet18", "--pretrained", "none", "--epoch", "1", "--workers", "0"]
    train_classifier.main(
        parse("train_classifier", ClassifierOptions, [*_run_flags(folder), *flags])
    )


def maps(folder: Path) -> None:
    flags = ["--resnet_checkpoint", str(folder / "classifier.pth"), "--open_kernel", "0"]
    generate_initial_masks.main(
        parse("generate_initial_masks", MaskOptions, [*_run_flags(folder), *flags])
    )


def encoding(folder: Path) -> None:
    """The first part of step 4: every positive patch, without flips and rotations."""
    options = parse("finetune_decoder", FinetuneOptions, [*_run_flags(folder), *_sam_flags(folder)])
    patches = []
    for split in ("train", "val"):
        patches += select_positives(list_labelled_patches(folder / "data" / "noise" / split))
    setup = prepare_sam(
        options, SIDE_PX, len(patches), options.n_point, select_device("cpu", "fp32")
    )
    prepare_embeddings(setup, patches, 1)


def decoder(folder: Path) -> None:
    """Step 4 on the CAMs and embeddings of the steps before: one epoch, validation,
    pseudo-labels.
    """
    # The CAMs were made with that classifier, and the step expects it here.
    weights = (folder / "classifier.pth").read_bytes()
    (folder / "runs" / "growth" / "resnet_adl.pth").write_bytes(weights)
    flags = ["--epoch", "1", "--ids_threshold", "-1", "--allow_degenerate"]
    finetune_decoder.main(
        parse(
            "finetune_decoder",
            FinetuneOptions,
            [*_run_flags(folder), *_sam_flags(folder), *flags],
        )
    )


def _run_flags(folder: Path) -> list[str]:
    flags = ["--dataset_type", "noise", "--dataset_root", str(folder / "data")]
    flags += ["--checkpoint_root", str(folder / "runs"), "--run", "growth", "--device", "cpu"]
    return flags


def _sam_flags(folder: Path) -> list[str]:
    return [
        "--sam_model_type",
        "vit_demo",
        "--sam_checkpoint",
        str(folder / "sam.pth"),
        "--embedding_transforms",
        "1",
    ]


STEPS: dict[str, Callable[[Path], None]] = {
    "extraction": extraction,
    "classifier": classifier,
    "maps": maps,
    "encoding": encoding,
    "decoder": decoder,
}


if __name__ == "__main__":
    main()
