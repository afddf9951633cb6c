"""Rows of docs/results/real_size.csv: one training step and one prediction of each method at the
size that its recipe has, with random weights on patches of noise.

    python benchmarks/real_size.py                    every part, one process after the other
    python benchmarks/real_size.py --only unet        one of them

A step is that of a batch of --batch patches: forward, backward, optimiser. A prediction is that of
one patch; for SAM's decoder, the encoder of the patch stands in a column of its own, since training
has its embeddings stored. Seconds are processor time, so that other work beside it plays no part,
summed over threads (OMP_NUM_THREADS=1: one core's); peak memory is that of the process.
`estimate_gib` is no measurement: what the step of the recipe's whole batch would hold on a GPU in
fp32, by counting. It is to be set against the memory of a card, 12 GB in the paper.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from result_rows import append_rows

from epsam.config.command_line import parse
from epsam.core.device import select_device
from epsam.core.records import code_version, describe_machine, peak_memory
from epsam.data.images import write_mask, write_rgb
from epsam.data.patches import Patch, list_labelled_patches, select_positives
from epsam.engine.task import Task
from epsam.pipeline import STAGES
from epsam.segment.registry import build_segmenter
from epsam.segment.sam.models import build_sam
from epsam.training.box_decoder import build_box_decoder_task, prepare_box_sam
from epsam.training.classifier import build_classifier_task
from epsam.training.round_data import Example
from epsam.training.segmenter import build_segmenter_task
from epsam.weak.registry import build_weak_model

ROOT = Path(__file__).resolve().parents[1]
GIB = 2**30
COLUMNS = (
    *(
        "part",
        "network_side",
        "batch",
        "train_cpu_seconds",
        "predict_cpu_seconds",
        "encode_cpu_seconds",
    ),
    *("peak_gib", "parameters_m", "saved_mib_per_patch", "recipe_batch", "estimate_gib"),
    *("machine", "revision", "command"),
)

PARTS = {
    "enhanced_adl": ("enhanced_adl", "train_classifier"),
    "adl": ("adl", "train_classifier"),
    "gradcam": ("gradcam", "train_classifier"),
    "dws_mil": ("dws_mil", "train_classifier"),
    "sa_mil": ("sa_mil", "train_classifier"),
    "swin_mil": ("swin_mil", "train_classifier"),
    "wsss_tissue, classifier": ("wsss_tissue", "train_classifier"),
    "unet": ("unet", "train_segmenter"),
    "deeplab": ("deeplab", "train_segmenter"),
    "sam_box": ("sam_box", "train_box_decoder"),
}
"""Part → METHOD of train.sh and the stage. EP-SAM is enhanced_adl with the decoder of sam_box;
gradcam++ and eigencam have the network of gradcam, medsam_box that of sam_box, unet_pseudo that of
unet, and the segmenter of wsss_tissue that of deeplab.
"""

WEIGHT_COPIES = 4
"""A weight, its gradient, and the two means that Adam keeps."""


@dataclass(frozen=True)
class Part:
    """What a part trains and predicts with.

    side: of the images that enter the network, px. encode: SAM's encoder on one patch, for a part
    whose training has stored embeddings.
    """

    task: Task
    predict: Callable[[], Any]
    side: int
    recipe_batch: int
    encode: Callable[[], Any] | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", choices=tuple(PARTS), help="one part")
    parser.add_argument("--batch", type=int, default=2, help="patches of a step, 2 or more")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--in_process", action="store_true", help="print one part's row as JSON")
    options = parser.parse_args()
    if options.in_process:
        print(json.dumps(measure_part(options.only, options.batch)))
        return

    path = options.results / "real_size.csv"
    for part in [options.only] if options.only else PARTS:
        row = run_apart(part, options.batch)
        # After each part: a part takes minutes, and the next one may run out of memory.
        append_rows(path, COLUMNS, [row])
        print(json.dumps(row), flush=True)


def run_apart(part: str, batch: int) -> dict[str, Any]:
    """The row of a part, measured in a process of its own: a peak is that of a process."""
    words = ["--only", part, "--batch", str(batch), "--in_process"]
    # Between them a shell, as a child begins with the peak of its parent.
    command = ["bash", "-c", '"$@"; exit $?', "bash", sys.executable, __file__, *words]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    row: dict[str, Any] = json.loads(output.splitlines()[-1])
    return row


def measure_part(
    name: str, batch: int, side: int = 512, flags: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The row of a part. side: of the patches, px, as the paper's. flags: of its stage."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        part = build_part(name, batch, Path(folder), side, flags)
        parameters = sum(p.numel() for p in part.task.model.parameters() if p.requires_grad)
        step_batch = next(iter(part.task.batches(0, 0)))

        started = time.process_time()
        saved = step(part.task, step_batch)
        train_seconds = time.process_time() - started
        predict_seconds = time_of(part.predict)
        encode_seconds = time_of(part.encode) if part.encode else 0.0
    return {
        "part": name,
        "network_side": part.side,
        "batch": batch,
        "train_cpu_seconds": f"{train_seconds:.2f}",
        "predict_cpu_seconds": f"{predict_seconds:.2f}",
        "encode_cpu_seconds": f"{encode_seconds:.2f}" if part.encode else "",
        "peak_gib": f"{peak_memory()['peak_ram_gib']:.2f}",
        "parameters_m": f"{parameters / 1e6:.2f}",
        "saved_mib_per_patch": f"{saved / batch / 2**20:.0f}",
        "recipe_batch": part.recipe_batch,
        "estimate_gib": f"{estimate_gib(parameters, saved / batch, part.recipe_batch):.1f}",
        "machine": machine(),
        "revision": code_version()["git"][:7],
        "command": f"python benchmarks/real_size.py --batch {batch}",
    }


def estimate_gib(parameters: int, saved_per_patch: float, batch: int) -> float:
    """GiB of a step in fp32: what the optimiser keeps, and what backward needs of each patch."""
    return (4 * WEIGHT_COPIES * parameters + saved_per_patch * batch) / GIB


def step(task: Task, batch: Any) -> int:
    """One training step; returns the bytes of the tensors that it keeps for backward."""
    weights = {weight.untyped_storage().data_ptr() for weight in task.model.parameters()}
    sizes: dict[int, int] = {}

    def remember(tensor: Tensor) -> Tensor:
        # Two operations may keep the same storage. Weights are counted by themselves.
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    task.model.train()
    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        loss = task.loss(batch, 0).mean()
    loss.backward()
    task.apply_gradients()
    task.model.eval()
    return sum(sizes.values())


def time_of(call: Callable[[], Any]) -> float:
    started = time.process_time()
    with torch.no_grad():
        call()
    return time.process_time() - started


def build_part(name: str, batch: int, folder: Path, side: int, flags: tuple[str, ...]) -> Part:
    """A part with the options of its recipe, but for the batch and for weights at random."""
    method, stage = PARTS[name]
    for split in ("train", "val"):
        write_patches(folder / "data" / "noise" / split, side, batch)
    words = ["--dataset_type", "noise", "--dataset_root", str(folder / "data"), "--recipe", method]
    words += ["--checkpoint_root", str(folder), "--device", "cpu"]
    recipe_batch = parse(stage, STAGES[stage].load_options_class(), words).batch_size
    words += ["--batch_size", str(batch), *flags]
    if stage == "train_box_decoder":
        options = parse(stage, STAGES[stage].load_options_class(), words)
        torch.save(build_sam(options.sam_model_type).state_dict(), folder / "sam.pth")
        words += ["--sam_checkpoint", str(folder / "sam.pth"), "--embedding_transforms", "1"]
    else:
        words += ["--pretrained", "none", "--workers", "0"]
    options = parse(stage, STAGES[stage].load_options_class(), words)

    train = select_positives(list_labelled_patches(folder / "data" / "noise" / "train"))
    val = select_positives(list_labelled_patches(folder / "data" / "noise" / "val"))[:1]
    build = BUILDERS[stage]
    return build(options, train, val, side, recipe_batch)


def build_classifier_part(
    options: Any, train: list[Patch], val: list[Patch], side: int, recipe_batch: int
) -> Part:
    model = build_weak_model(options)
    device_config = select_device("cpu", "fp32")
    task = build_classifier_task(model, train, val, side, options, device_config)
    image = noise(side)
    return Part(task, lambda: model.predict(image), options.input_size or side, recipe_batch)


def build_segmenter_part(
    options: Any, train: list[Patch], val: list[Patch], side: int, recipe_batch: int
) -> Part:
    model = build_segmenter(options)
    examples = [Example(patch, patch.mask) for patch in train]
    task = build_segmenter_task(model, examples, val, side, options, select_device("cpu", "fp32"))
    image = noise(side)
    return Part(task, lambda: model.predict(image), side, recipe_batch)


def build_decoder_part(
    options: Any, train: list[Patch], val: list[Patch], side: int, recipe_batch: int
) -> Part:
    sam = prepare_box_sam(options, train, val, side)
    task = build_box_decoder_task(sam, train, val, options)
    image = np.zeros((1, side, side, 3), np.uint8)
    return Part(
        task,
        task.validate,
        sam.segmenter.frame.sam_size,
        recipe_batch,
        encode=lambda: sam.segmenter.encode(image),
    )


BUILDERS: dict[str, Callable[..., Part]] = {
    "train_classifier": build_classifier_part,
    "train_segmenter": build_segmenter_part,
    "train_box_decoder": build_decoder_part,
}


def noise(side: int) -> Tensor:
    return torch.rand(1, 3, side, side)


def write_patches(folder: Path, side: int, count: int) -> None:
    """`count` patches with tumour in the middle, on noise."""
    rng = np.random.default_rng(0)
    mask = np.zeros((side, side), bool)
    mask[side // 4 : side // 2, side // 4 : side // 2] = True
    for number in range(count):
        image = rng.integers(0, 255, (side, side, 3), np.uint8)
        write_rgb(folder / "image" / f"n{number}_1.png", image)
        write_mask(folder / "mask" / f"n{number}_1.png", mask)


def machine() -> str:
    cores, threads = describe_machine()["cores"], torch.get_num_threads()
    return f"{cores} CPU cores, shared with other work; threads: {threads}"


if __name__ == "__main__":
    main()
