"""Processor seconds and peak memory of reading an annotation file of 200 MB, and of a tile's mask
from it.

    python benchmarks/large_annotations.py [MEGABYTES]
Four files: one polygon of very many corners, many small polygons, one that zigzags over the whole
slide, and one annotation after the other without a corner, which is refused.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count, islice
from multiprocessing import Pool
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from epsam.annotations.asap_reader import read_annotations
from epsam.annotations.polygons import rasterize_tumour
from epsam.core.errors import AnnotationError

SIDE_PX0 = 100_000
OPEN, CLOSE = '<Annotation PartOfGroup="Tumor"><Coordinates>', "</Coordinates></Annotation>"


def corner(number: int, x: float, y: float) -> str:
    return f'<Coordinate Order="{number}" X="{x:.1f}" Y="{y:.1f}"/>'


def large_annotation() -> Iterator[str]:
    yield OPEN
    for number in count():
        yield corner(number, number * 7919 % SIDE_PX0, number / 30 % SIDE_PX0)


def zigzag() -> Iterator[str]:
    yield OPEN
    for number in count():
        yield corner(number, number / 40, number % 2 * SIDE_PX0)


def small_annotations() -> Iterator[str]:
    for number in count():
        x, y = number * 7919 % SIDE_PX0, number * 104_729 % SIDE_PX0
        corners = [corner(n, x + 30 * (n % 4 > 1), y + 30 * (0 < n % 4 < 3)) for n in range(20)]
        yield OPEN + "".join(corners) + CLOSE


def empty_annotations() -> Iterator[str]:
    while True:
        yield "<Annotation/>"


def write(path: Path, pieces: Iterator[str], end: str, size: int) -> None:
    """Write pieces until the file has about `size` bytes, then `end`."""
    with path.open("w", encoding="utf-8") as stream:
        stream.write("<ASAP_Annotations><Annotations>")
        while stream.tell() < size:
            stream.write("".join(islice(pieces, 10_000)))
        stream.write(end + "</Annotations></ASAP_Annotations>")


def measure(path: Path) -> str:
    """A row of the table, from a process that has done nothing else."""
    began = time.process_time()
    annotations, refusal = None, ""
    try:
        annotations = read_annotations(path)
    except AnnotationError as error:
        refusal = str(error).partition(": ")[2].partition(";")[0]
    read = time.process_time()

    result = refusal
    if annotations is not None:
        fraction = rasterize_tumour(annotations, 1000, 1000, 512, 512).mean()
        seconds = time.process_time() - read
        result = (
            f"{len(annotations.tumour)} polygons; tile's mask, {fraction:.2f} full, {seconds:.1f} s"
        )
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    megabytes = path.stat().st_size / 1e6
    return f"| {path.stem} | {megabytes:.0f} | {read - began:.1f} | {peak_gib:.2f} | {result} |"


def main() -> None:
    size = int(float(sys.argv[1] if len(sys.argv) > 1 else 200) * 1e6)
    print("| file | MB | read, processor s | peak, GiB | |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for make, end in (
            (large_annotation, CLOSE),
            (small_annotations, ""),
            (zigzag, CLOSE),
            (empty_annotations, ""),
        ):
            path = Path(folder) / f"{make.__name__}.xml"
            write(path, make(), end, size)
            with Pool(1) as pool:
                print(pool.apply(measure, (path,)), flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
