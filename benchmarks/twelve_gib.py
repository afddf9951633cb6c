"""Steps 2 to 6 at the paper's sizes on a GPU whose memory is capped at 12 GiB; prints seconds and
peaks of each step.

    python benchmarks/twelve_gib.py                        ViT-B with random weights, 512 px
    python benchmarks/twelve_gib.py --device cpu --small   the same path, small, to try it out

The patches are noise and the weights random: memory and time are measured, not quality. For the
classifier the fraction of time that it waits for data is printed, too; it has more patches than the
other steps, since a few would be over before its loaders have started.
"""

import argparse
import gc
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
from epsam.config.classifier import ClassifierOptions
from epsam.config.command_line import parse
from epsam.config.decoder import FinetuneOptions, RetrainOptions
from epsam.config.evaluation import EvaluateOptions
from epsam.config.inference import InferOptions
from epsam.config.masks import MaskOptions
from epsam.core.files import read_table
from epsam.data.images import write_mask, write_rgb
from epsam.paths import RunPaths
from epsam.segment.sam.models import build_sam
from epsam.tables import METRIC_COLUMNS

GIB = 2**30
MAX_WAIT_FRACTION = 0.05
"""The target for a GPU: the classifier waits for data at most this fraction of its training."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--gib", type=float, default=12.0, help="cap on the GPU's memory")
    parser.add_argument(
        "--patches", type=int, default=32, help="positive patches, and as many negative ones"
    )
    parser.add_argument(
        "--classifier_patches",
        type=int,
        default=1000,
        help="train patches of the classifier; 512 px ones take 0.7 MB each for the time being",
    )
    parser.add_argument("--small", action="store_true", help="64 px patches, ResNet18, vit_demo")
    options = parser.parse_args()
    if options.device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, options.gib * GIB / total))
        print(
            f"{torch.cuda.get_device_name(0)}, {total / GIB:.0f} GiB, capped at {options.gib:g} GiB"
        )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        side = 64 if options.small else 512
        write_dataset(root / "data" / "noise", side, options.patches)
        write_patches(root / "many", side, options.classifier_patches)
        model = "vit_demo" if options.small else "vit_b"
        torch.manual_seed(0)
        torch.save(build_sam(model).state_dict(), root / "sam.pth")
        for name, step in steps(root, model, options.device, options.small):
            print_cost(name, step)
        fractions = " ".join(f"{fraction:.3f}" for fraction in read_wait_fractions(root))
        print(
            f"data_wait_share of train_classifier, by epoch: {fractions} "
            f"(target on a GPU: at most {MAX_WAIT_FRACTION:g})"
        )


def steps(root: Path, model: str, device: str, small: bool) -> list[tuple[str, Callable[[], None]]]:
    """The stages at their defaults, but with two epochs and a threshold that accepts every
    pseudo-label.
    """
    dataset = [
        "--dataset_type",
        "noise",
        "--dataset_root",
        str(root / "data"),
        "--checkpoint_root",
        str(root / "runs"),
        "--device",
        device,
    ]
    backbone = ["--backbone", "resnet18"] if small else []
    sam = ["--sam_model_type", model, "--sam_checkpoint", str(root / "sam.pth")]
    # Noise teaches nothing, which must not stop the stages after it.
    short = ["--epoch", "2", "--allow_degenerate"]
    learn = [
        "--pretrained",
        "none",
        "--train_image_dir",
        str(root / "many" / "image"),
        *short,
        *backbone,
    ]
    fit = [*sam, *short, "--ids_threshold", "-1"]

    def step(
        stage: str, kind: type, run: Callable, flags: list[str]
    ) -> tuple[str, Callable[[], None]]:
        return stage, lambda: run(parse(stage, kind, [*dataset, *flags]))

    return [
        step("train_classifier", ClassifierOptions, train_classifier.main, learn),
        step(
            "generate_initial_masks",
            MaskOptions,
            generate_initial_masks.main,
            ["--open_kernel", "0", "--allow_degenerate"],
        ),
        step("finetune_decoder", FinetuneOptions, finetune_decoder.main, fit),
        step("retrain_decoder", RetrainOptions, retrain_decoder.main, [*fit, "--n_iter", "1"]),
        step("evaluate", EvaluateOptions, evaluate.main, sam),
        step(
            "infer",
            InferOptions,
            infer.main,
            [
                *sam,
                "--test_dataset_dir",
                str(root / "data" / "noise" / "val"),
                "--output_dir",
                str(root / "out"),
            ],
        ),
    ]


def print_cost(name: str, step: Callable[[], None]) -> None:
    """Run a step and print its cost. The peak of the GPU is that of the step, the peak of RAM that
    of all steps so far.
    """
    if torch.cuda.is_available():
        # Memory that earlier steps hold, or PyTorch reserves, would count as this step's.
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    step()
    seconds = time.perf_counter() - started
    gpu = torch.cuda.max_memory_reserved() / GIB if torch.cuda.is_available() else 0.0
    ram = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    print(
        f"{name:24s} {seconds:8.1f} s   peak GPU {gpu:5.2f} GiB   peak RAM so far {ram:5.2f} GiB",
        flush=True,
    )


def read_wait_fractions(root: Path) -> list[float]:
    """The fraction of time that the classifier waited for data, for each epoch."""
    rows = read_table(RunPaths(root / "runs" / "noise").metrics, METRIC_COLUMNS)
    return [
        float(row["value"])
        for row in rows
        if (row["stage"], row["name"]) == ("classifier", "data_wait_share")
    ]


def write_dataset(folder: Path, side: int, count: int) -> None:
    """`count` positive patches for training and as many negative ones, and a quarter of them for
    validation.
    """
    write_patches(folder / "train", side, 2 * count)
    write_patches(folder / "val", side, 2 * max(2, count // 4), seed=1)


def write_patches(folder: Path, side: int, count: int, seed: int = 0) -> None:
    """`count` patches in all, every other one positive."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        label = index % 2
        image = rng.integers(100, 255, (side, side, 3), np.uint8)
        if label:
            image[side // 4 : side // 2, side // 4 : side // 2] //= 2
            mask = np.zeros((side, side), bool)
            mask[side // 4 : side // 2, side // 4 : side // 2] = True
            write_mask(folder / "mask" / f"n{index}_1.png", mask)
        write_rgb(folder / "image" / f"n{index}_{label}.png", image)


if __name__ == "__main__":
    main()
