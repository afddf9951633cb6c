"""How long a stand-in encoder of 10 ms a tile waits for tiles, by threads that read ahead.

    python benchmarks/read_ahead.py

A slide of JPEG tiles is read at its own resolution, and at half of it where no coarser level is
stored, which decodes four times the pixels. All numbers of threads are measured in one run. The
processor's time a tile does not depend on what else the machine does: a core can feed 10 ms of the
model with 10 ms of its own.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from large_slide import write_slide

from epsam.inference.progress import PhaseTimer
from epsam.inference.streaming import SlideInference
from epsam.inference.tile_model import Gate, TileBatch, TileResult
from epsam.inference.tiling import plan_tiles
from epsam.wsi.reader import open_slide
from epsam.wsi.tissue import find_tissue

MPP = 0.25
"""Pixel size of level 0 of the slide, µm."""


class SleepingModel:
    """A `TileModel` that takes a fixed time for a tile and leaves the processor to others."""

    phases = ("encoder",)
    mpp = None

    def __init__(self, seconds_per_tile: float, tile_size: int, batch_size: int) -> None:
        self.seconds_per_tile = seconds_per_tile
        self.tile_size = tile_size
        self.batch_size = batch_size

    def segment_tiles(
        self, batches: Iterable[TileBatch], timer: PhaseTimer
    ) -> Iterator[TileResult]:
        """An empty mask for each tile."""
        for tiles in batches:
            with timer.phase("encoder"):
                time.sleep(self.seconds_per_tile * len(tiles))
            for tile in tiles:
                yield TileResult(tile.name, tile.number, None, 0.0)


def main() -> None:
    """Print the fraction of the time that the stand-in waits, for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=12_288, help="side of the slide, px")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--milliseconds", type=float, default=10.0, help="of the model, a tile")
    options = parser.parse_args()
    print(
        f"{'read at':<12}{'threads':>8}{'tiles':>8}{'seconds':>9}{'waiting':>9}{'CPU ms/tile':>13}"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tif"
        write_slide(path, options.side, (1,))
        for mpp in (MPP, 2 * MPP):
            for n_threads in options.threads:
                row = measure(path, mpp, n_threads, options.milliseconds)
                print(f"{mpp:>5} µm/px {n_threads:>8}{row}", flush=True)


def measure(path: Path, mpp: float, n_threads: int, milliseconds: float) -> str:
    """Number of tiles, seconds, the fraction of them spent on waiting for tiles, and the
    processor's time of a tile, as cells of the table.
    """
    model = SleepingModel(milliseconds / 1000, 512, 4)
    # A slide that was read before has its tiles in the cache of the reader.
    with open_slide(path) as slide:
        grid = plan_tiles(slide, find_tissue(slide), model.tile_size, 0.25, mpp)
        timer = PhaseTimer(model.phases)
        inference = SlideInference(
            slide, "slide", grid, model, Gate(False, 0.5), 0.01, timer, read_threads=n_threads
        )
        started = time.process_time()
        for _ in inference.bands():
            pass
        cpu_ms = 1000 * (time.process_time() - started) / len(inference.classified)
        total = timer.seconds["read"] + timer.seconds["encoder"]
        waiting = timer.seconds["read"] / total
        n_tiles = len(inference.classified)
        return f"{n_tiles:>8}{timer.total():>9.1f}{waiting:>9.1%}{cpu_ms:>13.1f}"


if __name__ == "__main__":
    main()
