"""tumour.geojson and regions.csv of a slide with a million regions: seconds, size, peak memory.

    python benchmarks/large_geojson.py

Each way is measured in a process of its own, since a peak never falls.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from epsam.annotations.contours import Ring
from epsam.annotations.geojson import format_geojson, write_geojson
from epsam.annotations.regions import leave_out_small_regions

N_CORNERS = 12
ACROSS = 1000
"""Regions side by side."""
GIBIBYTE = 1 << 30


def main() -> None:
    """Print a line for the plain and for the gzipped file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regions", type=int, default=1_000_000)
    options = parser.parse_args()
    print(f"{'file':<12}{'regions':>10}{'MB':>8}{'seconds':>9}{'peak RSS, GiB':>15}")
    for is_gzipped in (False, True):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            size, seconds, peak = pool.apply(measure, (options.regions, is_gzipped))
        title = "gzipped" if is_gzipped else "plain"
        print(f"{title:<12}{options.regions:>10,}{size / 1e6:>8.0f}{seconds:>9.0f}{peak:>15.2f}")


def measure(count: int, is_gzipped: bool) -> tuple[int, float, float]:
    """Bytes of the file, seconds to write it, and the peak RSS of this process in GiB."""
    rings = make_rings(count)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tumour.geojson"
        outlined = leave_out_small_regions(rings, 1.0)
        write_geojson(path, format_geojson(outlined, 2.0, 0.5, "slide"), is_gzipped)
        size = path.stat().st_size
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIBIBYTE
    return size, seconds, peak


def make_rings(count: int) -> list[Ring]:
    """Regions of `N_CORNERS` corners in rows."""
    angles = np.linspace(0, 2 * np.pi, N_CORNERS, endpoint=False)
    shape = np.stack([np.cos(angles), np.sin(angles)], axis=1).round(1) * 20
    rings = []
    for number in range(count):
        row, column = divmod(number, ACROSS)
        middle_xy = np.array([50.0 * column + 25, 50.0 * row + 25])
        rings.append(Ring(shape + middle_xy, False, -1))
    return rings


if __name__ == "__main__":
    main()
