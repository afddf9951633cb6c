"""A `TileModel` that answers from colour alone, and slides of coloured boxes for it."""

import numpy as np

from epsam.inference.tile_model import GatedTileModel
from epsam.wsi.writer import PyramidFormat, write_slide

PINK, BLUE, WHITE = (220, 120, 180), (70, 60, 150), (245, 245, 245)


class FakeTileModel(GatedTileModel):
    """Blue is tumour: a tile's score is its fraction of blue, its probability 1 where it is blue.
    Counts its calls.
    """

    phases = ("gate", "encoder", "decoder")

    def __init__(self, tile_size=32, batch_size=4, mpp=0.5):
        self.tile_size = tile_size
        self.batch_size = batch_size
        self.mpp = mpp
        self.classified = self.encoded = 0
        self.keys = []
        self.batches = []

    def classify(self, tiles, timer):
        assert 0 < len(tiles) <= self.batch_size
        self.classified += len(tiles)
        self.batches.append(len(tiles))
        return [float(blue(tile).mean()) for tile in tiles], list(tiles)

    def segment_passed(self, tiles, contexts, timer):
        images = [tile.image for tile in tiles]
        assert 0 < len(images) == len(contexts) <= self.batch_size
        assert all(map(np.array_equal, images, contexts))
        self.encoded += len(contexts)
        self.keys += [(tile.name, tile.number) for tile in tiles]
        return np.stack([blue(image) for image in images]).astype(np.float32)


def blue(image):
    return image[:, :, 0] < 145


def draw_slide(height, width, tissue, tumour):
    """White with boxes (left, top, right, bottom) of tissue and, above them, of tumour."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = WHITE
    for boxes, colour in ((tissue, PINK), (tumour, BLUE)):
        for left, top, right, bottom in boxes:
            image[top:bottom, left:right] = colour
    return image


def write_lossless_slide(path, image, mpp=0.5, levels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_slide(path, image, mpp, PyramidFormat(tile=64, compression="deflate", levels=levels))
    return path
