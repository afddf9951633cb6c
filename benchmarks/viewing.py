"""Seconds that the viewer takes for a tile and for a view of 100,000 polygons, through the server.

    python benchmarks/viewing.py
The slide has 20,480 × 20,480 px; goals are 0.2 s for a tile that is in memory, and 1 s for a view.
"""

import http.client
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from epsam.core.files import write_json, write_table
from epsam.core.output_folders import INFERENCE, mark_output_folder
from epsam.tables import SLIDE_RESULT_COLUMNS
from epsam.view.catalogue import read_catalogue
from epsam.view.image_site import ImageSite
from epsam.view.server import ViewServer
from epsam.wsi.writer import PyramidFormat, write_pyramid

SIDE_PX0 = 20_480
BAND = 256
N_POLYGONS, N_CORNERS = 100_000, 40
SCREEN_PX = 1500


def write_results(root: Path) -> Path:
    """A slide of noise with results of 100,000 regions."""
    rng = np.random.default_rng(0)
    noise = rng.integers(100, 255, (BAND, SIDE_PX0, 3), dtype=np.uint8)
    (root / "slides").mkdir()
    shape = (SIDE_PX0, SIDE_PX0)
    bands = [noise] * (SIDE_PX0 // BAND)
    write_pyramid(root / "slides" / "a.tif", bands, (*shape, 3), 0.5, PyramidFormat())
    folder = root / "results" / "a"
    folder.mkdir(parents=True)
    grey = [band[:, :, 0] for band in bands]
    write_pyramid(folder / "probability.tif", grey, shape, 0.5, PyramidFormat(256, "deflate"))
    write_polygons(folder / "tumour.geojson", rng)
    write_json(
        folder / "slide.json",
        {"row": {"status": "done"}, "frame": {"scale": 1.0, "mpp": 0.5, "side_px0": 512}},
    )
    row = {"slide": "a", "status": "done"}
    write_table(root / "results" / "slides.csv", SLIDE_RESULT_COLUMNS, [row])
    mark_output_folder(root / "results", INFERENCE)
    options = {"test_dataset_dir": str(root / "slides")}
    write_json(root / "results" / "record.json", {INFERENCE: {"options": options}})
    return root / "results"


def write_polygons(path: Path, rng: np.random.Generator) -> None:
    angles = np.linspace(0, 2 * np.pi, N_CORNERS, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    with path.open("w", encoding="utf-8") as stream:
        stream.write('{"type": "FeatureCollection", "features": [\n')
        for number in range(N_POLYGONS):
            points = rng.uniform(0, SIDE_PX0, 2) + rng.uniform(3, 60) * circle
            corners = np.round([*points, points[0]], 2).tolist()
            end = ",\n" if number < N_POLYGONS - 1 else "\n]}\n"
            stream.write(
                '{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": '
                f'[{corners}]}}, "properties": {{}}}}{end}'
            )


def measure(server: ViewServer, path: str) -> float:
    """Seconds until the whole answer is there."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    connection.request("GET", f"/{server.token}/{path}")
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {content[:100]!r}")
    return time.perf_counter() - began


def view_path(detail: int) -> str:
    """The polygons of a screen in the middle of the slide, a pixel of which spans 2^detail px0."""
    half = SCREEN_PX * 2**detail / 2
    low, high = SIDE_PX0 / 2 - half, SIDE_PX0 / 2 + half
    return f"outlines/0/tumour.bin?box={low},{low},{high},{high}&detail={detail}"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = ImageSite(read_catalogue(write_results(Path(folder))))
        with ViewServer(site) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            print("| | first, s | again, s |\n|---|---|---|")
            for layer in ("image", "probability", "uncertainty"):
                paths = [f"tiles/0/{layer}/15/{n}_{n}.png" for n in range(30, 40)]
                first = [measure(server, path) for path in paths]
                again = [measure(server, path) for path in paths]
                print(f"| tile of {layer}, worst of 10 | {max(first):.3f} | {max(again):.4f} |")
            measure(server, view_path(10))
            for detail in (4, 3, 2, 1, 0):
                opening, moving = (measure(server, view_path(detail)) for _ in range(2))
                name = f"polygons, {2**detail} px0 a pixel of the screen"
                print(f"| {name} | {opening:.2f} | {moving:.2f} |")
            server.shutdown()
        site.files.close()


if __name__ == "__main__":
    main()
