"""The site of a folder of results of infer.sh: list, tiles, outlines."""

import re
from collections.abc import Mapping
from typing import Any

from epsam.annotations.polygons import Polygon
from epsam.corrections.store import CorrectionStore
from epsam.data.images import read_mask
from epsam.view.catalogue import Catalogue, ViewedImage
from epsam.view.corrections import CorrectionPages
from epsam.view.open_images import OpenImages
from epsam.view.outlines import pack, read_rings
from epsam.view.overlays import ANNOTATIONS, TUMOUR, OutlineReader, read_tile_table
from epsam.view.pages import palettes, render_page, script_of, static_file
from epsam.view.regions import region_of_mask, region_of_rings
from epsam.view.server import BINARY, HTML, JPEG, PNG, SCRIPT, Answer
from epsam.view.tiles import (
    GROUND_TRUTH,
    IMAGE,
    MASK,
    PROBABILITY,
    UNCERTAINTY,
    TileAddress,
    TileReader,
)
from epsam.view.uncertainty import UncertaintyScores

LAYERS = (IMAGE, PROBABILITY, UNCERTAINTY, MASK, GROUND_TRUTH)
SLIDE_LAYERS = (PROBABILITY, TUMOUR, ANNOTATIONS)
IMAGE_LAYERS = (MASK, GROUND_TRUTH)
"""Layers that are shown at first."""
_TILE = re.compile(r"tiles/(\d{1,9})/([a-z_]+)/(\d{1,2})/(\d{1,9})_(\d{1,9})\.(?:jpg|png)")
_OUTLINES = re.compile(r"outlines/(\d{1,9})/([a-z]+)\.bin")
_TABLE = re.compile(r"tables/(\d{1,9})\.js")
_IMAGE = re.compile(r"images/(\d{1,9})\.js")


class ImageSite:
    """Answers the page about segmented slides or images."""

    def __init__(self, catalogue: Catalogue, store: CorrectionStore | None = None) -> None:
        """store: where corrections are written; None: the page only shows."""
        self.catalogue = catalogue
        self.files = OpenImages()
        self.tiles = TileReader(catalogue.images, self.files)
        self.outlines = OutlineReader(catalogue.images)
        self.scores = UncertaintyScores(catalogue.images)
        self.corrections: CorrectionPages | None = None
        if store is not None:
            names = [image.correction_name for image in catalogue.images]
            self.corrections = CorrectionPages(store, names, self._find_region)

    def answer(self, path: str, query: Mapping[str, str]) -> Answer | None:
        if path == "":
            title = f"{self.catalogue.folder.name}: results"
            can_correct = self.corrections is not None
            page = render_page(
                "viewer.html.j2", title=title, exported=False, corrections=can_correct
            )
            return Answer(page, HTML)
        if path == "list.js":
            return Answer(script_of("epsam.setList", self.describe_list()), SCRIPT)
        if match := _IMAGE.fullmatch(path):
            return self._answer_image(int(match[1]))
        if path == "uncertainty.js":
            scores = self.scores
            return Answer(
                script_of("epsam.setUncertainty", scores.values, scores.is_complete), SCRIPT
            )
        if match := _OUTLINES.fullmatch(path):
            return self._answer_outlines(int(match[1]), match[2], query)
        if match := _TABLE.fullmatch(path):
            return self._answer_table(int(match[1]))
        if match := _TILE.fullmatch(path):
            numbers = [int(match[group]) for group in (3, 4, 5)]
            return self._answer_tile(TileAddress(int(match[1]), match[2], *numbers))
        if self.corrections and (answer := self.corrections.answer(path)):
            return answer
        return static_file(path)

    def write(self, path: str, content: Mapping[str, Any]) -> Answer | None:
        """Write a correction; see `CorrectionPages.write`."""
        return self.corrections.write(path, content) if self.corrections else None

    def start(self) -> None:
        """Begin to compute what takes long."""
        self.scores.start()

    def describe_list(self) -> dict[str, Any]:
        """The list of images and what all of them share, for the page."""
        images = [describe_row(image) for image in self.catalogue.images]
        has_probability = any(image.probability for image in self.catalogue.images)
        return {
            "title": str(self.catalogue.folder),
            "images": images,
            "palettes": palettes(),
            "first_shown": SLIDE_LAYERS if has_probability else IMAGE_LAYERS,
        }

    def describe_image(self, number: int) -> dict[str, Any]:
        """Sizes and layers of an image, for the page.

        span: width of a layer in level-0 pixels; px0: how many a pixel of it spans. mpp: pixel size
        of level 0 in µm, 0 if unknown.
        """
        image = self.catalogue.images[number]
        layers = {}
        for name in LAYERS:
            levels = self.tiles.levels(number, name)
            if levels is None:
                continue
            is_result = name in (PROBABILITY, UNCERTAINTY, MASK)
            px0 = image.frame.scale if is_result else 1.0
            layers[name] = {
                "width": levels.width,
                "height": levels.height,
                "finest": levels.finest,
                "coarsest": levels.coarsest,
                "span": levels.width * px0,
                "px0": px0,
            }
        return {
            "name": image.name,
            "mpp": image.frame.mpp / image.frame.scale,
            "layers": layers,
            "outlines": self.outlines.kinds(number),
            "tiles": image.tiles is not None,
        }

    def _find_region(self, number: int, x: float, y: float) -> Polygon | None:
        """The region of the results at a place of an image."""
        image = self.catalogue.images[number]
        if image.contours:
            return region_of_rings(read_rings(image.contours), x, y)
        # An image of results has a mask of its own size; a slide has contours.
        return region_of_mask(read_mask(image.mask), x, y) if image.mask else None

    def _answer_image(self, number: int) -> Answer | None:
        if number >= len(self.catalogue.images):
            return None
        return Answer(script_of("epsam.setImage", number, self.describe_image(number)), SCRIPT)

    def _answer_outlines(self, number: int, kind: str, query: Mapping[str, str]) -> Answer | None:
        try:
            left, top, right, bottom = map(float, query.get("box", "").split(","))
            detail = int(query.get("detail", ""))
        except ValueError:
            return None
        rings = self.outlines.view(number, kind, (left, top, right, bottom), detail)
        return None if rings is None else Answer(pack(rings), BINARY)

    def _answer_table(self, number: int) -> Answer | None:
        if number >= len(self.catalogue.images):
            return None
        table = read_tile_table(self.catalogue.images[number])
        return Answer(script_of("epsam.setTiles", number, table), SCRIPT)

    def _answer_tile(self, address: TileAddress) -> Answer | None:
        content = self.tiles.read(address)
        if content is None:
            return None
        return Answer(content, JPEG if address.layer == IMAGE else PNG, is_fixed=True)


def describe_row(image: ViewedImage) -> dict[str, Any]:
    """The row of an image in the list; None where the results say nothing."""
    return {
        "name": image.name,
        "tumour_mm2": _number(image.row.get("tumour_mm2")),
        "tumour_fraction": _number(image.row.get("tumour_share")),
        "dice": _number(image.row.get("dice")),
        "uncertainty": None,
    }


def restrict_levels(layer: dict[str, Any], dropped: int) -> None:
    """Leave out the finest levels of a layer's description: so much coarser is then the finest."""
    for side in ("width", "height"):
        layer[side] = -(-layer[side] // (1 << dropped))
    layer["px0"] *= 1 << dropped
    layer["span"] = layer["width"] * layer["px0"]
    layer["finest"] -= dropped


def _number(text: object) -> float | None:
    try:
        return float(str(text))
    except ValueError:
        return None
