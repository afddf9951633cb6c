"""Steps 2 to 6 at the paper's sizes on a GPU whose memory is capped at 12 GiB; prints seconds and peaks of each step.

    python benchmarks/twelve_gib.py                                       ViT-B with random weights, 512 px patches
    python benchmarks/twelve_gib.py --device cpu --small                  the same path, small, to see that it runs

The patches are noise and the weights random: what is measured is memory and time, not quality.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import evaluate
import finetune_decoder
import generate_initial_masks
import infer
import retrain_decoder
import train_classifier
from command_line import parse
from epsam.data.images import write_mask, write_rgb
from epsam.options import (
    ClassifierOptions,
    DecoderOptions,
    EvaluateOptions,
    InferOptions,
    MaskOptions,
    RetrainOptions,
)
from epsam.sam.models import build_sam

GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--gib", type=float, default=12.0, help="cap on the GPU's memory")
    parser.add_argument("--patches", type=int, default=32, help="positive patches, and as many negative ones")
    parser.add_argument("--small", action="store_true", help="64 px patches, ResNet18, vit_demo")
    given = parser.parse_args()
    if given.device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, given.gib * GIB / total))
        print(f"{torch.cuda.get_device_name(0)}, {total / GIB:.0f} GiB, capped at {given.gib:g} GiB")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_dataset(root / "data" / "noise", 64 if given.small else 512, given.patches)
        model = "vit_demo" if given.small else "vit_b"
        torch.manual_seed(0)
        torch.save(build_sam(model).state_dict(), root / "sam.pth")
        for name, step in steps(root, model, given.device, given.small):
            print_cost(name, step)


def steps(root: Path, model: str, device: str, small: bool) -> list[tuple[str, Callable[[], None]]]:
    """The stages at their defaults, but for two epochs and a threshold that lets every pseudo-label through."""
    place = ["--dataset_type", "noise", "--dataset_root", str(root / "data"), "--checkpoint_root", str(root / "runs"),
             "--device", device]
    backbone = ["--backbone", "resnet18"] if small else []
    sam = ["--sam_model_type", model, "--sam_checkpoint", str(root / "sam.pth")]
    # Noise teaches nothing, which must not stop the stages after it.
    short = ["--epoch", "2", "--allow_degenerate"]
    fit = [*sam, *short, "--ids_threshold", "-1"]

    def step(stage: str, kind: type, run: Callable, flags: list[str]) -> tuple[str, Callable[[], None]]:
        return stage, lambda: run(parse(stage, kind, [*place, *flags]))

    return [
        step("train_classifier", ClassifierOptions, train_classifier.main, ["--pretrained", "none", *short, *backbone]),
        step("generate_initial_masks", MaskOptions, generate_initial_masks.main,
             ["--open_kernel", "0", "--allow_degenerate"]),
        step("finetune_decoder", DecoderOptions, finetune_decoder.main, fit),
        step("retrain_decoder", RetrainOptions, retrain_decoder.main, [*fit, "--n_iter", "1"]),
        step("evaluate", EvaluateOptions, evaluate.main, sam),
        step("infer", InferOptions, infer.main, [*sam, "--test_dataset_dir", str(root / "data" / "noise" / "val"),
                                                 "--output_dir", str(root / "out")]),
    ]


def print_cost(name: str, step: Callable[[], None]) -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    step()
    seconds = time.perf_counter() - started
    gpu = torch.cuda.max_memory_reserved() / GIB if torch.cuda.is_available() else 0.0
    ram = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    print(f"{name:24s} {seconds:8.1f} s   peak GPU {gpu:5.2f} GiB   peak RAM so far {ram:5.2f} GiB", flush=True)


def write_dataset(folder: Path, side: int, count: int) -> None:
    rng = np.random.default_rng(0)
    for split, number in (("train", count), ("val", max(2, count // 4))):
        for index in range(2 * number):
            label = index % 2
            image = rng.integers(100, 255, (side, side, 3), np.uint8)
            if label:
                image[side // 4 : side // 2, side // 4 : side // 2] //= 2
                mask = np.zeros((side, side), bool)
                mask[side // 4 : side // 2, side // 4 : side // 2] = True
                write_mask(folder / split / "mask" / f"n{index}_1.png", mask)
            write_rgb(folder / split / "image" / f"n{index}_{label}.png", image)


if __name__ == "__main__":
    main()
