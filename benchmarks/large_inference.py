"""infer.py on a slide of 100,000 × 100,000 px: tiles, seconds and peak memory.

Most of the slide is background, so that it ends in minutes: three pieces of tissue, a millimetre
wide, lie at its corners and in its middle. Every tile with tissue goes through SAM. After
./train.sh:

    python benchmarks/large_inference.py
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from large_slide import TILE, write_slide

ROOT = Path(__file__).resolve().parents[1]
DOWNSAMPLES = (1, 2, 4, 8, 16)
PIECE_PX0 = TILE * DOWNSAMPLES[-1]
"""Side of a piece: one tile of the coarsest level, so that it looks alike on all levels."""


def main() -> None:
    """Write the slide, segment it in a process of its own, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=100_000, help="side of the slide, px")
    parser.add_argument("--dataset_type", default="demo", help="dataset of the run")
    parser.add_argument(
        "--checkpoint_root", default=str(ROOT / "checkpoints"), help="folder that holds the run"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slide, output = Path(folder) / "large.tif", Path(folder) / "results"
        write_slide(slide, options.side, DOWNSAMPLES, partial(in_pieces, options.side))
        print(f"slide of {options.side:,}² px, {slide.stat().st_size / 1e6:,.0f} MB", flush=True)
        started = time.perf_counter()
        subprocess.run(
            [
                sys.executable,
                str(ROOT / "src" / "infer.py"),
                "--dataset_type",
                options.dataset_type,
                "--checkpoint_root",
                options.checkpoint_root,
                "--test_dataset_dir",
                str(slide),
                "--output_dir",
                str(output),
                "--no-classifier_gate",
            ],
            check=True,
        )
        seconds = time.perf_counter() - started
        record = json.loads((output / "record.json").read_text("utf-8"))["infer"]
        with (output / "slides.csv").open(newline="", encoding="utf-8") as stream:
            (row,) = csv.DictReader(stream)
        print(
            f"result {int(row['width']):,} × {int(row['height']):,} px; "
            f"{int(row['windows']):,} tiles, {int(row['seen']):,} with tissue; {seconds:,.0f} s; "
            f"peak RSS {record['peak_ram_gib']:.2f} GiB"
        )


def in_pieces(side: int, x: float, y: float) -> bool:
    """Whether (x, y) lies in a piece of tissue, in sides of the slide from its middle."""
    column, row = (int((value + 0.5) * side) // PIECE_PX0 for value in (x, y))
    count = side // PIECE_PX0
    return column == row and column in (0, count // 2, count - 1)


if __name__ == "__main__":
    main()
