"""Step 1 on a slide of 100,000 × 100,000 px: tiles, decoded pixels, seconds and peak memory, as
one table.

The slide repeats one JPEG tile over a disc of tissue; outside of it tiles hold no bytes, as in
sparse files.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from epsam.annotations.polygons import Annotations, Polygon
from epsam.extraction.sampling import FractionRange, make_candidate_grid, tumour_fractions
from epsam.extraction.thumbnail import read_overview
from epsam.wsi.reader import open_slide, read_tile
from epsam.wsi.tiff import TiffSlide
from epsam.wsi.tissue import find_tissue, tissue_fractions

TILE, SIDE, STRIDE = 256, 512, 256
GIBIBYTE = 1 << 30


def main() -> None:
    """Write each kind of slide, measure it in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=100_000, help="side of the slide, px")
    parser.add_argument("--patches", type=int, default=200, help="tiles to decode")
    options = parser.parse_args()
    print(
        f"{'slide':<14}{'step':<18}{'tiles':>9}{'Mpx decoded':>13}{'seconds':>9}"
        f"{'peak RSS, MiB':>15}"
    )
    for title, downsamples in (("pyramid", (1, 2, 4, 8, 16, 32)), ("one level", (1,))):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "large.tif"
            write_slide(path, options.side, downsamples)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                for row in pool.apply(measure, (path, options.patches)):
                    print(f"{title:<14}{row.format()}")


TissueAt = Callable[[float, float], bool]
"""Whether there is tissue at (x, y), in sides of the slide from its middle."""


def in_disc(x: float, y: float) -> bool:
    """A disc of 0.3 of the side."""
    return x * x + y * y < 0.09


def write_slide(
    path: Path, side: int, downsamples: tuple[int, ...], tissue_at: TissueAt = in_disc
) -> None:
    """A BigTIFF of JPEG tiles, one page for each level."""
    noise = np.random.default_rng(0).normal(0, 12, (TILE, TILE, 3))
    texture = cv2.GaussianBlur(noise, (0, 0), 2) * 4 + (200, 130, 190)
    # One tile, encoded once: its bytes stand wherever the slide has tissue.
    bgr = texture[:, :, ::-1].clip(0, 255).astype(np.uint8)
    _, tile = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 80])
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for downsample in downsamples:
            level = side // downsample
            file.write(
                tiles(level, tile.tobytes(), tissue_at),
                shape=(level, level, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                resolution=(40_000, 40_000),
                resolutionunit="CENTIMETER",
                subfiletype=int(downsample > 1),
                metadata=None,
            )


def tiles(level: int, tile: bytes, tissue_at: TissueAt) -> Iterator[bytes]:
    """The tile wherever its middle lies in tissue, nothing elsewhere."""
    count = -(-level // TILE)
    middles = (np.arange(count) + 0.5) * TILE / level - 0.5
    for y in middles:
        for x in middles:
            yield tile if tissue_at(x, y) else b""


def metastasis(side: int) -> Polygon:
    """A ragged metastasis of 20,000 corners, 0.15 of the side in radius."""
    angle = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    radius = side * (0.15 + 0.01 * np.sin(40 * angle))
    return np.stack([side / 2 + radius * np.cos(angle), side / 2 + radius * np.sin(angle)], axis=1)


@dataclass(frozen=True)
class Measurement:
    """What one step took; `peak_mib` is the peak RSS of the process so far."""

    step: str
    n_tiles: int
    decoded_px: int
    seconds: float
    peak_mib: float

    def format(self) -> str:
        return (
            f"{self.step:<18}{self.n_tiles:>9,}{self.decoded_px / 1e6:>13,.1f}"
            f"{self.seconds:>9.1f}{self.peak_mib:>15,.0f}"
        )


def measure(path: Path, patches: int) -> list[Measurement]:
    """Each step of the extraction on one slide."""
    rows: list[Measurement] = []
    with open_slide(path) as slide:
        assert isinstance(slide, TiffSlide)

        def run(step: str, n_tiles: int, work: Callable[[], Any]) -> Any:
            before, start = slide.decoded_px, time.perf_counter()
            result = work()
            seconds = time.perf_counter() - start
            peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            rows.append(Measurement(step, n_tiles, slide.decoded_px - before, seconds, peak_mib))
            return result

        grid = make_candidate_grid(slide.width0, slide.height0, SIDE, STRIDE)
        lefts, tops, count = grid.lefts_px0, grid.tops_px0, grid.n_tiles
        annotations = Annotations([metastasis(slide.width0)])
        tissue = run("tissue", count, lambda: find_tissue(slide))
        run("tissue fraction", count, lambda: tissue_fractions(tissue, lefts, tops, SIDE))
        tumour = run("tumour fraction", count, lambda: tumour_fractions(annotations, grid))
        run("thumbnail", count, lambda: read_overview(slide))

        def read_tiles() -> None:
            for row, column in positive:
                read_tile(slide, int(lefts[column]), int(tops[row]), SIDE, SIDE)

        positive = np.argwhere(FractionRange(0.2, 0.9).contains(tumour))[:patches]
        run("extract", len(positive), read_tiles)
    return rows


if __name__ == "__main__":
    main()
