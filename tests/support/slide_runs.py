"""Small slides with boxes of tumour, and the way from them to result tables with a fake model."""

from epsam.core.artifact import Key
from epsam.inference.segment_slides import SlideSettings, segment_slides
from epsam.inference.slide_store import SlideStore
from epsam.inference.slide_tables import (
    add_scores,
    collect_rows,
    score_slides,
    write_tables,
)
from epsam.inference.tile_model import Gate
from support.fake_tile_model import FakeTileModel, draw_slide, write_lossless_slide

SETTINGS = SlideSettings(
    mpp=0.5, slide_mpp=0.0, overlap=0.25, min_tissue=0.01, gate=Gate(True, 0.02)
)
KEY = Key({"overlap": 0.25}, {"decoder": "d"})
OTHER_KEY = Key({"overlap": 0.5}, {"decoder": "d"})
TISSUE, TUMOUR = [(64, 64, 384, 320)], [(96, 96, 200, 176), (240, 250, 300, 290)]


def segment_all(slides, output, model=None, settings=SETTINGS, key=KEY):
    model = model or FakeTileModel()
    store = SlideStore(output, key)
    slides = segment_slides(slides, model, settings, store)
    rows, timings = collect_rows(slides, store)
    scores, unscored = score_slides(slides, store)
    rows = add_scores(rows, scores, unscored)
    write_tables(rows, timings, scores, output)
    return model, rows


def write_two_slides(path):
    """Slides a and b, equal, with two boxes of tumour; returns their folder."""
    for name in "ab":
        write_lossless_slide(path / f"{name}.tif", draw_slide(400, 448, TISSUE, TUMOUR))
    return path
