"""Slides that several processes segment with a stand-in for the model, some of them killed.

usage: python tests/support/shared_slides.py [--slides 300] [--kills 60] [--seed 0]
"""

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    for folder in ("src", "tests"):
        sys.path.insert(0, str(Path(__file__).resolve().parents[2] / folder))

from epsam.inference.inputs import find_slides
from epsam.inference.segment_slides import segment_slides
from epsam.inference.slide_store import SlideStore
from support.fake_tile_model import FakeTileModel, draw_slide, write_lossless_slide
from support.mini import REPOSITORY
from support.slide_runs import KEY, SETTINGS, segment_all
from support.untimed import contents

N_PROCESSES = 4
TIME_LIMIT_S = 600


class CountingModel(FakeTileModel):
    """Notes the slides of its tiles, and takes its time, so that kills hit it at work."""

    def __init__(self, seconds=0.0):
        super().__init__()
        self.seconds = seconds
        self.names = []

    def classify(self, tiles, timer):
        time.sleep(self.seconds)
        return super().classify(tiles, timer)

    def segment_tiles(self, batches, timer):
        def noted():
            for tiles in batches:
                for tile in tiles:
                    if tile.name not in self.names:
                        self.names.append(tile.name)
                yield tiles

        yield from super().segment_tiles(noted(), timer)


def write_many_slides(folder, count):
    """Slides of different tissue, s000 with the least; one of them is damaged."""
    for number in range(count):
        side = 40 + 12 * (number % 9)
        image = draw_slide(150, 150, [(8, 8, 8 + side, 8 + side)], [(20, 20, 44, 44)])
        write_lossless_slide(folder / f"s{number:03d}.tif", image)
    (folder / "broken.tif").write_bytes(b"no slide")
    return folder


def segment_shared(slide_folder, output):
    """What a process of a shared stage does: the names of the slides that it has segmented, in
    their order, and of those that all have done.
    """
    model = CountingModel()
    done = segment_slides(find_slides(slide_folder), model, SETTINGS, SlideStore(output, KEY))
    return model.names, [record.name for record in done]


def segment_alone(slide_folder, output):
    """A run of its own that shares the folder of results with others."""
    model = CountingModel(seconds=0.02)
    segment_slides(find_slides(slide_folder), model, SETTINGS, SlideStore(output, KEY))


def segment_with_kills(slide_folder, output, n_kills, seed=0):
    """Let four runs share the work, each killed at random moments and started again, and make the
    tables at the end; returns the number of kills.

    The kills are spread over the slides, not over time, so that a fast machine sees as many.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["support.shared_slides"])
    os.environ["PYTHONPATH"] = os.pathsep.join(str(REPOSITORY / name) for name in ("src", "tests"))
    rng = random.Random(seed)
    killed = 0
    processes = []
    deadline = time.monotonic() + TIME_LIMIT_S
    for _ in range(N_PROCESSES):
        processes.append(_start(context, slide_folder, output))
    n_slides = len(list(slide_folder.iterdir()))
    while any(process.exitcode is None for process in processes):
        assert time.monotonic() < deadline, "the runs do not end"
        time.sleep(rng.uniform(0.005, 0.05))
        index = rng.randrange(N_PROCESSES)
        # The last kill is due when three quarters are done, while all processes are at work.
        is_due = _count_results(output) >= 0.75 * n_slides * killed / n_kills
        if killed < n_kills and is_due and processes[index].exitcode is None:
            processes[index].kill()
            processes[index].join()
            killed += 1
            processes[index] = _start(context, slide_folder, output)
    assert [process.exitcode for process in processes] == [0] * N_PROCESSES
    segment_all(find_slides(slide_folder), output)
    return killed


def _start(context, slide_folder, output):
    process = context.Process(target=segment_alone, args=(slide_folder, output))
    process.start()
    return process


def _count_results(output):
    """Slides whose results stand; the names of staging folders begin with a dot."""
    return sum(1 for path in output.glob("s*") if path.is_dir())


def find_leftovers(output):
    """What neither is a result nor belongs to one: staging folders, claims.

    Left out is the small folder of a process that was killed while it prepared a claim.
    """
    paths = [path for path in output.rglob("*.part*") if path.parent.name != ".claims"]
    for path in (output / ".claims").iterdir():
        if not path.match(".*.part"):
            paths.append(path)
    return paths


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, default=300)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        slides = write_many_slides(Path(name) / "slides", options.slides)
        started = time.monotonic()
        killed = segment_with_kills(slides, Path(name) / "shared", options.kills, options.seed)
        seconds = time.monotonic() - started
        segment_all(find_slides(slides), Path(name) / "one")
        is_same = contents(Path(name) / "shared") == contents(Path(name) / "one")
        leftovers = find_leftovers(Path(name) / "shared")
    print(f"{options.slides} slides, {killed} kills, {seconds:.0f} s; same files: {is_same}")
    print(f"left over: {leftovers or 'nothing'}")
    return 0 if is_same and not leftovers else 1


if __name__ == "__main__":
    raise SystemExit(main())
