"""A folder of results of two slides, small enough to know each pixel, as infer.sh leaves it."""

import json

import numpy as np

from epsam.core.files import write_json, write_table
from epsam.core.output_folders import INFERENCE, mark_output_folder
from epsam.tables import SLIDE_RESULT_COLUMNS, TILE_COLUMNS
from epsam.wsi.writer import PyramidFormat, write_slide

WIDTH, HEIGHT = 700, 500
MPP = 0.5
SURE, UNSURE = (slice(100, 300), slice(100, 300)), (slice(100, 300), slice(300, 400))
"""Rows and columns where the probability is 1, and where it is 153 of 255 = 0.6; it is 0
elsewhere.
"""
LOSSLESS = PyramidFormat(tile=256, compression="deflate")


def slide_pixels(seed):
    """Pink tissue with noise in the left 600 columns, white glass in the others."""
    noise = np.random.default_rng(seed).integers(-20, 20, (HEIGHT, WIDTH, 3))
    image = (np.array([200, 110, 170]) + noise).astype(np.uint8)
    image[:, 600:] = 250
    return image


def probability_pixels():
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[SURE] = 255
    values[UNSURE] = 153
    return values


def square(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def write_contours(path, rings):
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for ring in rings
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def write_one(output, name, dice):
    folder = output / name
    folder.mkdir(parents=True)
    values = probability_pixels()
    write_slide(folder / "probability.tif", values, MPP, LOSSLESS)
    mask = (values > 127).astype(np.uint8) * 255
    write_slide(folder / "mask.tif", mask, MPP, PyramidFormat(256, "deflate", average=False))
    write_contours(folder / "tumour.geojson", [square(100, 100, 400, 300)])
    tiles = [
        {"x": x, "y": 0, "tissue": 1.0, "probability": 0.9, "gated": int(x > 256)}
        for x in (0, 256, 444)
    ]
    write_table(folder / "windows.csv", TILE_COLUMNS, tiles)
    row = {"slide": name, "status": "done", "tumour_mm2": "0.015", "tumour_share": "0.2"}
    frame = {"scale": 1.0, "mpp": MPP, "side_px0": 256}
    write_json(folder / "slide.json", {"row": row, "frame": frame})
    return {**row, "dice": dice}


def write_results(root, names=("a", "b")):
    """root/slides/ and root/results/ of the slides `names`; returns the folder of results."""
    output = root / "results"
    rows = []
    for number, name in enumerate(names):
        (root / "slides").mkdir(exist_ok=True)
        write_slide(root / "slides" / f"{name}.tif", slide_pixels(number), MPP, LOSSLESS)
        rows.append(write_one(output, name, f"0.{number + 5}"))
    write_table(output / "slides.csv", SLIDE_RESULT_COLUMNS, rows)
    mark_output_folder(output, INFERENCE)
    options = {"test_dataset_dir": str(root / "slides")}
    write_json(output / "record.json", {INFERENCE: {"options": options}})
    return output
