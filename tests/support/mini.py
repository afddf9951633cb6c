"""A dataset and weights small enough to run the scripts as a user does, in seconds."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from epsam.annotations.asap_writer import TUMOUR, AsapAnnotation, format_asap_xml
from epsam.core.files import write_text
from epsam.data.images import write_mask, write_rgb
from epsam.segment.sam.models import build_sam
from epsam.segment.sam.specs import SPECS
from epsam.wsi.writer import PyramidFormat, write_slide

REPOSITORY = Path(__file__).resolve().parents[2]
SIDE = 64
COUNTS = {"train": (6, 4), "val": (3, 2), "test": (2, 1)}

# A decoder with random weights that is fitted for one epoch may well call everything tumour.
FLAGS = {
    # Without ADL's draws, five epochs were enough for maps on every patch with each of eight seeds.
    "CLASSIFIER_FLAGS": "--backbone resnet18 --pretrained none --epoch 5 --batch_size 4 "
    "--workers 0 --lr 1e-3 --adl_drop_rate 0",
    "MASK_FLAGS": "--open_kernel 0 --allow_degenerate",
    "DECODER_FLAGS": "--epoch 1 --ids_threshold -1 --batch_size 4 --n_point 5 "
    "--embedding_transforms 1 --allow_degenerate",
    "RETRAIN_FLAGS": "--epoch 1 --ids_threshold -1 --batch_size 4 --n_point 5 "
    "--embedding_transforms 1 --n_iter 2 --allow_degenerate",
    "SAM_MODEL_TYPE": "vit_demo",
    "SAM_CHECKPOINT": "random_sam.pth",
    "DATASET_TYPE": "mini",
}


def write_patches(
    folder: Path, seed: int = 0, counts: Mapping[str, tuple[int, int]] = COUNTS
) -> None:
    """Pink patches; in the positive ones, a blue disc that the truth mask outlines."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for split, (tumour, normal) in counts.items():
        for number in range(tumour + normal):
            label = int(number < tumour)
            image = rng.normal((230, 170, 200), 12, (SIDE, SIDE, 3))
            centre = rng.uniform(20, 44, 2)
            disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < 14**2
            if label:
                image[disc] = rng.normal((90, 60, 150), 25, (int(disc.sum()), 3))
                write_mask(folder / split / "mask" / f"p{number}_1.png", disc)
            write_rgb(
                folder / split / "image" / f"p{number}_{label}.png",
                image.clip(0, 255).astype(np.uint8),
            )


def write_slides(folder: Path, seed: int = 0) -> None:
    """The same as slides with coarse outlines, out of which a run has to cut: a disc in every other
    window.
    """
    rng = np.random.default_rng(seed)
    splits = {"a": ("train", 3, 2), "b": ("train", 3, 3), "c": ("val", 3, 2), "d": ("test", 2, 2)}
    for name, (_, across, down) in splits.items():
        image = rng.normal((230, 170, 200), 12, (down * SIDE, across * SIDE, 3))
        rows, columns = np.mgrid[: down * SIDE, : across * SIDE]
        outlines = []
        for window in range(0, across * down, 2):
            x, y = (
                (window % across + 0.5) * SIDE + rng.uniform(-8, 8),
                (window // across + 0.5) * SIDE,
            )
            disc = (rows - y) ** 2 + (columns - x) ** 2 < 20**2
            image[disc] = rng.normal((90, 60, 150), 25, (int(disc.sum()), 3))
            corners = [
                (x + 20 * np.cos(turn), y + 20 * np.sin(turn))
                for turn in np.linspace(0, 2 * np.pi, 13)[:-1]
            ]
            outlines.append(AsapAnnotation(TUMOUR, np.round(corners).astype(np.int32)))
        write_slide(
            folder / "images" / f"{name}.tif",
            image.clip(0, 255).astype(np.uint8),
            0.5,
            PyramidFormat(tile=64, compression="deflate"),
        )
        write_text(folder / "annotations" / f"{name}.xml", format_asap_xml(outlines))
    rows = "".join(f"{name},{split}\n" for name, (split, *_) in splits.items())
    (folder / "splits.csv").write_text("slide,split\n" + rows)


@contextmanager
def smaller_sam(input_px: int = 128) -> Iterator[None]:
    """While it holds, `vit_demo` has a block with windows and a global one and sees few px; in this
    process only.
    """
    before = SPECS["vit_demo"]
    SPECS["vit_demo"] = replace(before, depth=2, global_blocks=(1,), input_px=input_px)
    try:
        yield
    finally:
        SPECS["vit_demo"] = before


def write_random_sam(path: Path) -> None:
    torch.manual_seed(0)
    torch.save(build_sam("vit_demo").state_dict(), path)


def clone(folder: Path, write_data: Callable[[Path], None] = write_patches) -> Path:
    """What a user has after `git clone`, with the mini dataset and its weights in place."""
    for name in ("train.sh", "infer.sh", "requirements.txt", "requirements-test.txt"):
        shutil.copy(REPOSITORY / name, folder / name)
    # With what Python has compiled of it: compiling takes each start a second.
    shutil.copytree(REPOSITORY / "src", folder / "src")
    shutil.copytree(
        REPOSITORY / "dataset",
        folder / "dataset",
        ignore=lambda d, names: [n for n in names if not n.endswith((".csv", ".md"))],
    )
    write_data(folder / "dataset" / "mini")
    write_random_sam(folder / "random_sam.pth")
    return folder


def run(folder: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the clone in the active environment, with the mini flags and one thread."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=_variables(environment),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def start(folder: Path, command: str, **environment: str) -> subprocess.Popen[str]:
    """The same as `run`, not waited for, in a process group of its own and with one stream for all
    it prints.
    """
    return subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        cwd=folder,
        env=_variables(environment),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _variables(environment: dict[str, str]) -> dict[str, str]:
    return {
        **os.environ,
        **FLAGS,
        "VIRTUAL_ENV": sys.prefix,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        **environment,
    }
