"""Did a change move a number? The whole demo with an older revision and with HEAD, bit for bit.

    python benchmarks/same_numbers.py main~5
    python benchmarks/same_numbers.py main~5 --quick               # an epoch a training: minutes
    python benchmarks/same_numbers.py main~5 --folder FOLDER       # keeps both sides' results

Both revisions are checked out as git worktrees and run on this machine with equal threads:
train.sh on the demo (seed 22), then infer.sh on one slide and on the test patches. Then every file
that both left is compared: tensors, masks, maps, probabilities and numbers in tables have to be
equal bit for bit (exit code 1 if one is not); other metadata that differ are listed. Times, peak
memory, versions and the machine are left out, and so are the pages of report.html.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
DONE = "same_numbers.done"
COMPARED_FOLDERS = ("dataset/demo", "checkpoints/demo", "infer_output")
COMMANDS = (
    (["./train.sh"], {}),
    (
        ["./infer.sh"],
        {
            "TEST_DATASET_DIR": "dataset/demo/images/tumor_008.tif",
            "OUTPUT_DIR": "infer_output/slide",
        },
    ),
    (["./infer.sh"], {"OUTPUT_DIR": "infer_output/patches"}),
)

# An epoch alone may leave nothing to learn from: the next stage has to go on all the same.
QUICK_FLAGS = {
    "CLASSIFIER_FLAGS": "--epoch 1",
    "MASK_FLAGS": "--allow_degenerate",
    "DECODER_FLAGS": "--epoch 1 --ids_threshold 0.5 --allow_degenerate",
    "RETRAIN_FLAGS": "--epoch 1 --ids_threshold 0.5 --n_iter 2 --allow_degenerate",
}

# What differs from one run of the same code to the next.
VOLATILE_KEYS = {
    "code",
    "data_wait_share",
    "ended",
    "fit_seconds",
    "machine",
    "peak_gpu_gib",
    "peak_ram_gib",
    "peak_ram_worker_gib",
    "seconds",
    "versions",
}
VOLATILE_FILES = {".lock", "report.html", "timings.csv", "timings.json"}
VOLATILE_FOLDERS = {".locks", "tensorboard"}

Value = Any
Leaves = dict[str, Value]


@dataclass(frozen=True)
class Difference:
    """One value of one file that is not the same on both sides."""

    file: str
    value: str
    is_number: bool
    detail: str

    def __str__(self) -> str:
        return f"{self.file}: {self.value}: {self.detail}"


def main() -> int:
    """Run what has not been run yet, compare, and print each difference."""
    options = read_options()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary).resolve()
        flags = QUICK_FLAGS if options.quick else {}
        old = run_revision(options.revision, folder, options.threads, flags)
        new = run_revision("HEAD", folder, options.threads, flags)

        differences = compare_folders(old, new)
        files = len(list_files(new))
        if not options.folder:
            remove_worktrees(old, new)

    numbers = [difference for difference in differences if difference.is_number]
    for difference in differences:
        kind = "NUMBER" if difference.is_number else "metadata"
        print(f"{kind}  {difference}")
    print(f"{files} files compared: {len(numbers)} numbers differ, ", end="")
    print(f"{len(differences) - len(numbers)} metadata fields differ")
    return 1 if numbers else 0


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("revision", help="git revision to compare HEAD with")
    parser.add_argument("--folder", default="", help="where to keep both sides; finished ones stay")
    parser.add_argument("--quick", action="store_true", help="an epoch a training, two rounds")
    parser.add_argument("--threads", type=int, default=1, help="threads of both sides (default: 1)")
    return parser.parse_args()


def run_revision(revision: str, folder: Path, threads: int, flags: Mapping[str, str]) -> Path:
    """Check out a revision below `folder`, run the demo in it once, and return its worktree."""
    commit = git("rev-parse", f"{revision}^{{commit}}")
    worktree = folder / (f"{commit}-quick" if flags else commit)
    if not worktree.is_dir():
        git("worktree", "add", "--quiet", "--detach", str(worktree), commit)

    if (worktree / DONE).is_file():
        print(f"{revision}: run before", flush=True)
        return worktree

    settings = {
        "DATASET_TYPE": "demo",
        "RUN": "demo",
        "SEED": "22",
        "DEVICE": "cpu",
        # Another number of threads adds in another order, which changes the last bits.
        "OMP_NUM_THREADS": str(threads),
        **flags,
    }
    for command, more in COMMANDS:
        print(f"{revision}: {' '.join(command)} {more}", flush=True)
        environment = {**os.environ, **settings, **more}
        subprocess.run(
            command, cwd=worktree, env=environment, check=True, stdout=subprocess.DEVNULL
        )
    (worktree / DONE).touch()
    return worktree


def git(*arguments: str) -> str:
    answer = subprocess.run(
        ["git", "-C", str(REPOSITORY), *arguments], check=True, capture_output=True, text=True
    )
    return answer.stdout.strip()


def remove_worktrees(*worktrees: Path) -> None:
    for worktree in set(worktrees):
        git("worktree", "remove", "--force", str(worktree))


def compare_folders(old: Path, new: Path) -> list[Difference]:
    """All differences between two worktrees in which the demo was run."""
    differences = []
    old_files, new_files = list_files(old), list_files(new)

    for name in sorted(old_files ^ new_files):
        side = "the old revision" if name in old_files else "HEAD"
        differences.append(Difference(name, "file", True, f"left by {side} alone"))

    for name in sorted(old_files & new_files):
        differences += compare_leaves(name, read_leaves(old / name), read_leaves(new / name))
    return differences


def list_files(worktree: Path) -> set[str]:
    """Paths below the worktree of all files to be compared."""
    names = set()
    for folder in COMPARED_FOLDERS:
        for path in (worktree / folder).rglob("*"):
            relative = path.relative_to(worktree)
            volatile = path.name in VOLATILE_FILES or VOLATILE_FOLDERS & set(relative.parts)
            if path.is_file() and not volatile:
                names.add(relative.as_posix())
    return names


def compare_leaves(file: str, old: Leaves, new: Leaves) -> Iterator[Difference]:
    """Differences between the named values of one file, arrays by their bytes."""
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            side = "the old revision" if name in old else "HEAD"
            yield Difference(file, name, False, f"only in {side}")
            continue

        before, after = old[name], new[name]
        if isinstance(before, np.ndarray) and isinstance(after, np.ndarray):
            if not same_bits(before, after):
                yield Difference(file, name, True, describe_arrays(before, after))
        elif before != after or type(before) is not type(after):
            is_number = isinstance(before, int | float) or isinstance(after, int | float)
            yield Difference(file, name, is_number, f"{before!r} → {after!r}")


def same_bits(old: np.ndarray, new: np.ndarray) -> bool:
    """Whether two arrays have one form and the same bytes; NaN equals NaN of the same bits."""
    return old.shape == new.shape and old.dtype == new.dtype and old.tobytes() == new.tobytes()


def describe_arrays(old: np.ndarray, new: np.ndarray) -> str:
    if old.shape != new.shape or old.dtype != new.dtype:
        return f"{old.dtype} {old.shape} → {new.dtype} {new.shape}"
    if not np.issubdtype(old.dtype, np.number):
        return "other values"
    gap = np.abs(old.astype(np.float64) - new.astype(np.float64))
    return f"{np.count_nonzero(gap)} of {gap.size} values differ, by up to {np.nanmax(gap):.3g}"


def read_leaves(path: Path) -> Leaves:
    """A file as named values: arrays, numbers and texts."""
    suffix = path.suffix.lower()
    if suffix == ".pth":
        return dict(walk("", torch.load(path, map_location="cpu", weights_only=True)))
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    if suffix in (".png", ".jpg"):
        return {"pixels": np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))}
    if suffix in (".tif", ".tiff"):
        with tifffile.TiffFile(path) as file:
            return {f"page {number}": page.asarray() for number, page in enumerate(file.pages)}
    if suffix == ".csv":
        return dict(read_csv_leaves(path.read_text("utf-8")))
    if suffix in (".json", ".geojson"):
        return dict(walk("", json.loads(path.read_text("utf-8"))))
    if suffix == ".jsonl":
        lines = [line for line in path.read_text("utf-8").splitlines() if line]
        return dict(walk("", [json.loads(line) for line in lines]))
    return {"bytes": np.frombuffer(path.read_bytes(), np.uint8)}


def walk(name: str, value: Value) -> Iterator[tuple[str, Value]]:
    """The leaves below a nested value, each with its path; volatile keys are left out."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key not in VOLATILE_KEYS:
                yield from walk(f"{name}/{key}", part)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from walk(f"{name}/{index}", part)
    elif isinstance(value, torch.Tensor):
        # As bytes, since numpy knows no bf16.
        yield name, value.contiguous().flatten().view(torch.uint8).numpy()
    else:
        yield name, value


def read_csv_leaves(text: str) -> Iterator[tuple[str, Value]]:
    """Cells by line and column, numbers as numbers; rows and columns of times are left out."""
    header, *lines = [line.split(",") for line in text.splitlines()]
    for number, cells in enumerate(lines, start=2):
        if VOLATILE_KEYS & set(cells):
            continue
        for column, cell in zip(header, cells, strict=False):
            if column not in VOLATILE_KEYS:
                yield f"line {number}, {column}", as_number(cell)


def as_number(cell: str) -> Value:
    try:
        number = float(cell)
    except ValueError:
        return cell
    # NaN as text: it equals nothing, not even itself.
    return cell if np.isnan(number) else number


if __name__ == "__main__":
    sys.exit(main())
